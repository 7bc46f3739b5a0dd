#!/bin/bash
# Runs as root inside the image to be, with this directory and a constraints.txt in $1: the real Prefect 3,
# the real Kubernetes worker apart from it, and a PostgreSQL with a database that is migrated.
set -euo pipefail
from=$1
pip() { python3 -m pip install --quiet --no-cache-dir --no-warn-script-location -c "$from/constraints.txt" "$@"; }

if ! prefect version >/dev/null 2>&1; then
  pip --break-system-packages prefect==3.9.1
fi
# Only the worker finds these, by its PYTHONPATH: a flow that imports the Kubernetes client begins seconds later.
pip --break-system-packages --dry-run --report /tmp/worker.json prefect-kubernetes==0.8.0 >/dev/null
python3 -c 'import json; [print(i["metadata"]["name"] + "==" + i["metadata"]["version"]) for i in json.load(open("/tmp/worker.json"))["install"]]' >/tmp/worker.txt
pip --no-deps --target /opt/worker -r /tmp/worker.txt
mkdir -p /opt/flows
cp "$from"/flows/*.py /opt/flows/
python3 -m compileall -q /opt/flows /opt/worker

# PostgreSQL refuses to run as root or as somebody without a name.
grep -q '^prefect:' /etc/passwd || echo 'prefect:x:65532:65532::/tmp:/bin/sh' >>/etc/passwd
bin=$(echo /usr/lib/postgresql/*/bin)
mkdir -p /srv/postgresql /usr/local/bin
chown 65532:65532 /srv/postgresql
chmod 700 /srv/postgresql
for tool in postgres pg_ctl pg_isready; do ln -sf "$bin/$tool" /usr/local/bin/; done
as() { HOME=/tmp PREFECT_HOME=/tmp/.prefect setpriv --reuid=65532 --regid=65532 --clear-groups "$@"; }
as "$bin/initdb" --pgdata=/srv/postgresql --username=prefect --auth=trust --encoding=UTF8 --locale=C.UTF-8 >/dev/null
echo "host all all all trust" >>/srv/postgresql/pg_hba.conf # a database for tests, in a namespace of its own
echo "listen_addresses = '*'" >>/srv/postgresql/postgresql.conf
echo "unix_socket_directories = '/tmp'" >>/srv/postgresql/postgresql.conf
echo "jit = off" >>/srv/postgresql/postgresql.conf # its library is left out
as "$bin/pg_ctl" --pgdata=/srv/postgresql --options='-c listen_addresses=' --log=/tmp/postgresql.log --wait --silent start
as "$bin/createdb" --host=/tmp --username=prefect prefect || { cat /tmp/postgresql.log; exit 1; }
# Migrated here once, and not at each start of the server, where it takes most of a minute.
as env PREFECT_API_DATABASE_CONNECTION_URL="postgresql+asyncpg://prefect@/prefect?host=/tmp" prefect server database upgrade -y >/tmp/migrate.log 2>&1 ||
  { cat /tmp/migrate.log; exit 1; }
as "$bin/pg_ctl" --pgdata=/srv/postgresql --mode=fast --wait --silent stop
