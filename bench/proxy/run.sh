#!/bin/sh
# Compares Marline's proxy with nginx and HAProxy in front of one tiny server, side by side.
#
#   bench/proxy/run.sh              builds with optimisation first (CARGO_TARGET_DIR as you set it)
#   MARLINE=path bench/proxy/run.sh measures this binary instead
#   SECONDS_EACH=8 ROUNDS=3         how long wrk runs, and how often; the best round counts
#   UPSTREAMS="1 4"                 behind how many upstreams each is measured
#
# Needs gcc, wrk, nginx, haproxy. Compare CPU per request first: it is steady on a busy machine.
set -eu
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
here=$(pwd)
each=${SECONDS_EACH:-8}
rounds=${ROUNDS:-3}
behind=${UPSTREAMS:-1 4}
work=$(mktemp -d)
pids=
stop() {
  for pid in $pids; do kill "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap stop EXIT INT TERM

if [ -z "${MARLINE:-}" ]; then
  cargo build --release -q --locked --manifest-path "$root/Cargo.toml" -p marline
  MARLINE=${CARGO_TARGET_DIR:-$root/target}/release/marline
fi
gcc -O2 -o "$work/upstream" "$here/upstream.c"

port() { # a free port
  perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport'
}

ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
resident() { awk '/VmRSS/ { print $2 }' "/proc/$1/status"; }
milliseconds() { awk -v t="$1" 'BEGIN { n = t + 0; if (t ~ /us$/) n /= 1000; else if (t !~ /ms$/) n *= 1000; printf "%.2f", n }'; }

measure() { # name pid port
  before=$(ticks "$2")
  wrk -t1 -c64 -d"${each}s" --latency "http://127.0.0.1:$3/" > "$work/out"
  after=$(ticks "$2")
  requests=$(awk '/requests in/ { print $1 }' "$work/out")
  bad=$(awk '/Non-2xx/ { print $NF } /Socket errors/ { gsub(/[^0-9 ]/, ""); print $1 + $2 + $3 + $4 }' "$work/out" | paste -sd+ | sed 's/^$/0/')
  rps=$(awk '/Requests\/sec/ { printf "%d", $2 }' "$work/out")
  p50=$(milliseconds "$(awk '$1 == "50%" { print $2 }' "$work/out")")
  p99=$(milliseconds "$(awk '$1 == "99%" { print $2 }' "$work/out")")
  cpu=$(awk -v t=$((after - before)) -v n="$requests" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.1f", t * 1e6 / hz / n }')
  rss=$(resident "$2" | awk '{ printf "%.1f", $1 / 1024 }')
  echo "$1 $rps $p50 $p99 $cpu $rss $bad" >> "$dir/results"
}

# Everything again for each number of upstreams, so that no connection of one run helps the next.
measure_behind() { # upstreams
up=$1
dir=$work/$up
mkdir "$dir"
nginx_port=$(port) haproxy_port=$(port) marline_port=$(port)
ups= nginx_servers= haproxy_servers= targets=
for number in $(seq "$up"); do
  at=$(port)
  "$work/upstream" "$at" & pids="$pids $!"
  ups="$ups $at"
  nginx_servers="$nginx_servers server 127.0.0.1:$at;"
  haproxy_servers="$haproxy_servers
  server s$number 127.0.0.1:$at"
  targets="$targets${targets:+,} {\"release\": \"one\", \"instance\": \"one-$number\", \"address\": \"127.0.0.1:$at\"}"
done

cat > "$dir/nginx.conf" <<EOF
daemon off; master_process off; worker_processes 1; pid $dir/nginx.pid; error_log $dir/nginx.err;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path $dir/b; proxy_temp_path $dir/p; fastcgi_temp_path $dir/f;
  uwsgi_temp_path $dir/u; scgi_temp_path $dir/s;
  upstream app { $nginx_servers keepalive 256; }
  server {
    listen 127.0.0.1:$nginx_port; keepalive_requests 100000000;
    location / {
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host \$host; proxy_set_header X-Forwarded-For \$remote_addr;
      proxy_set_header X-Forwarded-Proto \$scheme; proxy_set_header X-Request-Id \$request_id;
    }
  }
}
EOF
nginx -c "$dir/nginx.conf" -p "$dir" 2>/dev/null & nginx_pid=$!

cat > "$dir/haproxy.cfg" <<EOF
global
  maxconn 8000
  nbthread 1
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  option http-keep-alive
  option forwardfor
  http-reuse always
frontend f
  bind 127.0.0.1:$haproxy_port
  unique-id-format %[rand(4294967295),hex]
  unique-id-header X-Request-Id
  default_backend b
backend b
$haproxy_servers
EOF
haproxy -db -f "$dir/haproxy.cfg" 2>/dev/null & haproxy_pid=$!

mkdir "$dir/proxy"
cat > "$dir/proxy/routes.json" <<EOF
{"version": 1,
 "listeners": [{"address": "127.0.0.1:$marline_port", "routes": [{"service": "web"}]}],
 "services": {"web": {"targets": [$targets]}}}
EOF
"$MARLINE" __proxy --dir "$dir/proxy" & marline_pid=$!
pids="$pids $nginx_pid $haproxy_pid $marline_pid"

for each_port in $ups $nginx_port $haproxy_port $marline_port; do
  tries=0
  until wrk -t1 -c1 -d1s "http://127.0.0.1:$each_port/" 2>/dev/null | grep -q 'requests in'; do
    tries=$((tries + 1)); [ $tries -lt 10 ] || { echo "nothing answers on port $each_port" >&2; exit 1; }
  done
done

round=0
while [ $round -lt "$rounds" ]; do
  measure nginx "$nginx_pid" "$nginx_port"
  measure HAProxy "$haproxy_pid" "$haproxy_port"
  measure Marline "$marline_pid" "$marline_port"
  round=$((round + 1))
done

echo "Behind $up upstream(s):"
echo
echo "| proxy | requests/s | p50 ms | p99 ms | CPU µs/request | RSS MiB | failed | CPU against Marline |"
echo "|---|---|---|---|---|---|---|---|"
sort -k1,1 -k5,5n "$dir/results" | awk '!seen[$1]++' > "$dir/best"
marline_cpu=$(awk '$1 == "Marline" { print $5 }' "$dir/best")
for name in nginx HAProxy Marline; do
  awk -v name=$name -v ours="$marline_cpu" '$1 == name {
    printf "| %s | %s | %s | %s | %s | %s | %s | %.2f |\n", $1, $2, $3, $4, $5, $6, $7, $5 / ours }' "$dir/best"
done
echo
}

# Idle figures come from a second process that never served anything.
mkdir "$work/idle"
"$MARLINE" __proxy --dir "$work/idle" & idle_pid=$!
pids="$pids $idle_pid"

for upstreams in $behind; do measure_behind "$upstreams"; done
echo "An idle Marline proxy has $(resident "$idle_pid" | awk '{ printf "%.1f", $1 / 1024 }') MiB in use. Best of $rounds rounds of ${each} s; load average $(cut -d' ' -f1 /proc/loadavg) on $(nproc) cores."
