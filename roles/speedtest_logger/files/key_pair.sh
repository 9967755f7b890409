#!/bin/sh
# Make the key pair $key of the node $node. A private key without its public half, as a run that was killed leaves one,
# is kept where it is a whole one.
set -eu; umask 077; rm -f "$key.new" "$key.new.pub" "$key.half"
if ! { [ -s "$key" ] && ssh-keygen -y -P '' -f "$key" >"$key.half"; }; then
  ssh-keygen -q -t ed25519 -N '' -C "$node" -f "$key.new"
  mv "$key.new" "$key"; mv "$key.new.pub" "$key.half"
fi
mv "$key.half" "$key.pub"
