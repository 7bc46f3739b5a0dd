#!/bin/sh
# Stands in for docker, for go build and for what it builds: notes every call in
# $FAKE/calls, and remembers in $FAKE whether there is a cluster and which images.
name=${0##*/}
name=${name%%-*} # a cached binary's name ends in a hash
echo "$name $*" >>"$FAKE/calls"
case "$name $*" in
"go build "*)
  while [ "$1" != -o ]; do shift; done
  cp "$0" "$2"
  ;;
"go "*) exec "$REAL_GO" "$@" ;;
"kind create cluster "*) touch "$FAKE/cluster" ;;
"docker info"*) [ ! -e "$FAKE/no-daemon" ] ;;
"docker inspect "*)
  [ -e "$FAKE/cluster" ] || exit 1
  case "$*" in *Running*) echo "id true" ;; *) echo id ;; esac
  ;;
"docker rm "*)
  [ -e "$FAKE/cluster" ] || { echo "No such container"; exit 1; }
  rm "$FAKE/cluster"
  ;;
"docker buildx version") [ -e "$FAKE/buildx" ] ;;
"docker context show") echo desktop-linux ;;
"docker build "*) echo "$*" >>"$FAKE/images"; echo "$DOCKER_BUILDKIT $BUILDX_BUILDER" >>"$FAKE/builder" ;;
"docker pull "*) echo "$*" >>"$FAKE/images" ;;
"docker image inspect -f {{.Size}} "*) echo 20000000 ;;
"docker image inspect -f {{.Id}} "*) echo sha256:1 ;;
"docker image inspect "*) grep -q -e "$3" "$FAKE/images" ;;
"docker exec "*" get nodes "*) printf True ;;
*" import -") cat >/dev/null ;;
esac
