#!/bin/bash
# Puts the real Prefect client and our flows into a Debian root filesystem ($1).
# Called by mmdebstrap as a customize hook with REQUIREMENTS and FLOWS.
set -euo pipefail
root=$1
mkdir -p "$root"/opt/flows
cp -r "$FLOWS" "$root"/opt/flows/
cp "$REQUIREMENTS" "$root"/tmp/requirements.txt
# The host's certificates: it may sit behind a proxy of its own.
if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
  cp /etc/ssl/certs/ca-certificates.crt "$root"/tmp/ca.crt
  export PIP_CERT=/tmp/ca.crt
fi
unset PIP_FIND_LINKS PIP_CONFIG_FILE REQUESTS_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE
chroot "$root" python3 -m pip install --quiet --break-system-packages --no-cache-dir --no-warn-script-location -r /tmp/requirements.txt
chroot "$root" python3 -m compileall -q /opt/flows
rm -rf "$root"/tmp/requirements.txt "$root"/tmp/ca.crt "$root"/usr/share/doc "$root"/usr/share/man
