#!/bin/bash
# Puts the real Prefect 3 and PostgreSQL into a Debian root filesystem ($1). Called by mmdebstrap as a customize
# hook with CONSTRAINTS and with FROM, the directory of this file.
set -euo pipefail
root=$1
mkdir "$root"/tmp/from
cp -r --no-preserve=mode,ownership "$FROM"/. "$root"/tmp/from/
cp "$CONSTRAINTS" "$root"/tmp/from/constraints.txt
# The host's certificates: it may sit behind a proxy of its own.
if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
  cp /etc/ssl/certs/ca-certificates.crt "$root"/tmp/ca.crt
  export PIP_CERT=/tmp/ca.crt
fi
unset PIP_FIND_LINKS PIP_CONFIG_FILE REQUESTS_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE
chroot "$root" bash /tmp/from/install.sh /tmp/from
# pip has done its work; C sources and caches are of no use here.
rm -rf "$root"/tmp/* "$root"/tmp/.prefect "$root"/usr/lib/python3/dist-packages/pip "$root"/usr/lib/python3/dist-packages/pip-* \
  "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
find "$root"/usr/local/lib "$root"/opt/worker -name '*.c' -delete
