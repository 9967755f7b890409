{{/* A name that a CronJob may have. */}}
{{- define "speedtest.name" -}}
speedtest-{{ . }}
{{- end }}

{{/* What is the same on all objects of a node: dict "root" and "node". */}}
{{- define "speedtest.labels" -}}
app.kubernetes.io/name: speedtest-logger
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .node }}
speedtest-node: {{ .name }}
{{- end }}
{{- end }}

{{/* What is the same on all objects of archive or dashboard: dict "root" and "part". */}}
{{- define "speedtest.labelsOf" -}}
{{ include "speedtest.selectorOf" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{/* By what its pods are found. */}}
{{- define "speedtest.selectorOf" -}}
app.kubernetes.io/name: {{ .part }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* Of a pod of either: dict "root", "account" and "group". */}}
{{- define "speedtest.podOf" -}}
automountServiceAccountToken: false
# a Service named speedtest-dashboard would become SPEEDTEST_DASHBOARD_PORT
enableServiceLinks: false
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .account }}
  runAsGroup: {{ .account }}
  {{- if ne .account .group }}
  supplementalGroups: [{{ .group }}]
  {{- end }}
  fsGroup: {{ .group }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{/* Of a container of either: dict "root" and "resources". */}}
{{- define "speedtest.containerOf" -}}
image: {{ .root.Values.dashboardImage }}
imagePullPolicy: {{ .root.Values.imagePullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml .resources | nindent 2 }}
{{- end }}

{{/* A volume that outlives the release: dict "root", "part" and "storage". */}}
{{- define "speedtest.claimOf" -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ .part }}
  labels:
    {{- include "speedtest.labelsOf" . | nindent 4 }}
  annotations:
    helm.sh/resource-policy: keep
spec:
  accessModes: [ReadWriteOnce]
  {{- with .storage.className }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ .storage.size }}
{{- end }}

{{/* The crontab(5) expression of a node's slots, as Schedule.cron() has it. */}}
{{- define "speedtest.cron" -}}
{{- $interval := int .intervalSeconds -}}
{{- $offset := mod (int .offsetSeconds) $interval -}}
{{- if or (mod $interval 60) (mod $offset 60) -}}
{{- fail (printf "node %s: slots every %d s from second %d on: cron begins with full minutes, so intervalSeconds and offsetSeconds must be multiples of 60" .name $interval $offset) -}}
{{- end -}}
{{- $minutes := div $interval 60 -}}
{{- $minute := mod (div $offset 60) 60 -}}
{{- if and (le $interval 3600) (eq (int (mod 3600 $interval)) 0) -}}
{{- include "speedtest.steps" (dict "first" $minute "step" $minutes "count" 60) }} * * * *
{{- else if and (eq (int (mod $interval 3600)) 0) (eq (int (mod 86400 $interval)) 0) -}}
{{- $minute }} {{ include "speedtest.steps" (dict "first" (div $offset 3600) "step" (div $interval 3600) "count" 24) }} * * *
{{- else -}}
{{- fail (printf "node %s: slots every %d s: cron cannot say that in one line; set an interval that divides an hour, such as 1200, or whole hours that divide a day, such as 21600" .name $interval) -}}
{{- end -}}
{{- end }}

{{/* Whether nodes trust the ca.crt of the archive's own certificate. */}}
{{- define "speedtest.trustsSecret" -}}
{{- if and .Values.archive.enabled (not .Values.archive.ca) }}yes{{ end -}}
{{- end }}

{{/* A field of it: every so many of a round. */}}
{{- define "speedtest.steps" -}}
{{- if eq (int .step) 1 -}}
*
{{- else if eq (int .step) .count -}}
{{ .first }}
{{- else -}}
{{ .first }}-{{ sub .count 1 }}/{{ .step }}
{{- end -}}
{{- end }}

{{/* A node's settings: dict "root" and "node". */}}
{{- define "speedtest.environment" -}}
{{- $archive := .root.Values.archive -}}
{{- $home := "/var/lib/speedtest-telemetry" -}}
{{- $ca := ternary "/etc/speedtest-archive-ca/ca.crt" "" $archive.enabled -}}
{{- $identity := ternary "/etc/speedtest-identity" (printf "%s/identity" $home) (ne (.node.identitySecret | default "") "") -}}
{{- $own := dict
  "SPEEDTEST_NODE" .node.name
  "SPEEDTEST_LOCATION" (.node.location | default "unknown-location")
  "SPEEDTEST_UPLINK" (.node.uplink | default "")
  "SPEEDTEST_RUNTIME" "kubernetes"
  "SPEEDTEST_INTERVAL_SECONDS" (int .node.intervalSeconds | toString)
  "SPEEDTEST_OFFSET_SECONDS" (int .node.offsetSeconds | toString)
  "SPEEDTEST_STATE_DIR" $home
  "SPEEDTEST_LOG_FILE" (printf "%s/speedtest-diag.log" $home)
  "SPEEDTEST_KEY_FILE" (printf "%s/id_ed25519" $identity)
  "SPEEDTEST_TOKEN_FILE" (printf "%s/token" $identity)
  "SPEEDTEST_KNOWN_HOSTS_FILE" "/etc/speedtest-telemetry/known_hosts"
  "SPEEDTEST_CA_FILE" (ternary "/etc/speedtest-telemetry/archive-ca.pem" $ca (ne $archive.ca ""))
  "SPEEDTEST_TRANSPORT" $archive.transport
  "SPEEDTEST_ARCHIVE_HOST" (ternary "speedtest-archive" $archive.host $archive.enabled)
  "SPEEDTEST_ARCHIVE_PORT" (ternary 443 (int $archive.port) $archive.enabled | toString)
  "SPEEDTEST_ARCHIVE_USER" $archive.user -}}
{{- /* a pod starts some seconds after its slot */ -}}
{{- $usual := dict "SPEEDTEST_START_TOLERANCE_SECONDS" "90" -}}
{{- $all := merge $own (.node.settings | default dict) .root.Values.settings $usual -}}
{{- range $name := keys $all | sortAlpha }}
{{- with get $all $name }}
{{ $name }}: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* What a container may do, and what it sees: dict "root" and "node". */}}
{{- define "speedtest.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml .root.Values.resources | nindent 2 }}
volumeMounts:
  - name: state
    mountPath: /var/lib/speedtest-telemetry
  - name: archive-host
    mountPath: /etc/speedtest-telemetry
    readOnly: true
  {{- if include "speedtest.trustsSecret" .root }}
  - name: archive-ca
    mountPath: /etc/speedtest-archive-ca
    readOnly: true
  {{- end }}
  - name: tmp
    mountPath: /tmp
  {{- if .node.identitySecret }}
  - name: identity
    mountPath: /etc/speedtest-identity
    readOnly: true
  {{- end }}
{{- end }}
