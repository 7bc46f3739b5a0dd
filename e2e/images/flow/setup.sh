#!/bin/bash
# Puts the real Prefect client and our flows into a Debian root filesystem ($1).
# Called by mmdebstrap as a customize hook with REQUIREMENTS, CONSTRAINTS and FLOWS.
set -euo pipefail
root=$1
mkdir -p "$root"/opt/flows
cp -r --no-preserve=mode,ownership "$FLOWS" "$root"/opt/flows/
rm -rf "$root"/opt/flows/*/__pycache__
# The Kubernetes client is for the agent. Without it a flow run begins sooner: importing prefect takes half the time.
grep -v '^kubernetes' "$REQUIREMENTS" >"$root"/tmp/requirements.txt
cp "$CONSTRAINTS" "$root"/tmp/constraints.txt
# The host's certificates: it may sit behind a proxy of its own.
if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
  cp /etc/ssl/certs/ca-certificates.crt "$root"/tmp/ca.crt
  export PIP_CERT=/tmp/ca.crt
fi
unset PIP_FIND_LINKS PIP_CONFIG_FILE REQUESTS_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE
chroot "$root" python3 -m pip install --quiet --break-system-packages --no-cache-dir --no-warn-script-location \
  -r /tmp/requirements.txt -c /tmp/constraints.txt
chroot "$root" python3 -m compileall -q /opt/flows
# pip has done its work; C sources and caches are of no use to a flow run.
rm -rf "$root"/tmp/* "$root"/usr/lib/python3/dist-packages/pip "$root"/usr/lib/python3/dist-packages/pip-* \
  "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
find "$root"/usr/local/lib -name '*.c' -delete
