"""What several archive hosts share beside their table, in the same place.

    _shared/inbox/NODE/ULID.SHA256.jsonl      receipted records that are not in the table yet
    _shared/beside/ULID.NODE.FOLDER.jsonl     raw output, lines of logs, results of probes: for every host to take in
    _shared/hosts/NAME                        when a host was last at work
    _shared/lease                             which host takes the inbox in

Names that begin with _ are none of the table's: neither its readers nor its vacuum look at them.
"""

ROOT = "_shared/"
INBOX, BESIDE, HOSTS, LEASE = f"{ROOT}inbox/", f"{ROOT}beside/", f"{ROOT}hosts/", f"{ROOT}lease"
