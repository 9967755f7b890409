# A member's key, and a certificate that it signs itself and nothing else: $folder, $member. The key never leaves the host.
set -eu
umask 077
rm -f "$folder/key.new" "$folder/certificate.new"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 36500 -subj "/CN=$member" \
  -keyout "$folder/key.new" -out "$folder/certificate.new" -config /dev/stdin <<END
[req]
distinguished_name = name
x509_extensions = member
prompt = no
[name]
CN = member
[member]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
END
mv "$folder/key.new" "$folder/key.pem"
chmod 0644 "$folder/certificate.new"
mv "$folder/certificate.new" "$folder/certificate.pem"
