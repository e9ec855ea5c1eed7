#!/bin/sh
# For adnanh/webhook, which has verified the signature: store, flush nothing.
set -eu
tmp=$HOOK_SPOOL/tmp/$$
printf %s "$1" >"$tmp"
mv "$tmp" "$HOOK_SPOOL/new/$$.$2.json"
