#!/bin/sh
# The first steps with `broker`: a node with a store, a subscriber, a publisher, the store, the status.
# Usage: first-steps.sh [PATH OF broker]
set -eu
broker=${1:-broker}
directory=$(mktemp -d)
node=
trap 'test -z "$node" || kill "$node" 2>/dev/null; rm -rf "$directory"' EXIT

# A manager alone is a whole cluster. Port 0 takes a free one; the node says which.
cat >"$directory/cluster.toml" <<'TOML'
[cluster]
name = "first-steps"
[stores.visits]
backend = "memory"
[node.manager]
role = "manager"
listen = ["grpc://127.0.0.1:0"]
TOML
mkfifo "$directory/node" "$directory/sub"
"$broker" node --log-level warn --config "$directory/cluster.toml" --name manager >"$directory/node" &
node=$!
exec 3<"$directory/node"
read -r _ url <&3
read -r ready <&3
test "$ready" = ready

# A subscriber says on stderr when it is in place; what is published from then on reaches it.
"$broker" sub "$url" /greetings --count 2 2>"$directory/sub" &
subscriber=$!
read -r _ <"$directory/sub"
"$broker" pub "$url" /greetings '"hello"' '[10.0.0.1, 80/tcp, 5s]'
wait "$subscriber"

# A store: every write has been applied when the command returns.
"$broker" store "$url" visits increment 10.0.0.1 1u
"$broker" store "$url" visits increment 10.0.0.1 2u
"$broker" store "$url" visits get 10.0.0.1
"$broker" store "$url" visits dump

"$broker" status "$url" --json | cut -c 1-6
kill "$node"
wait "$node"
node=
echo done
