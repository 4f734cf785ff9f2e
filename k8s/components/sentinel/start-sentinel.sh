# Sentinel writes what it learns into its own configuration, so that is made anew at each start.
set -eu
umask 077
. /etc/redis/current-master.sh
cat >/data/sentinel.conf <<EOF
port 26379
bind $POD_IP
dir /data
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $ANNOUNCED
sentinel monitor trunkline $master 6379 2
sentinel auth-pass trunkline $REDIS_PASSWORD
sentinel down-after-milliseconds trunkline 5000
sentinel failover-timeout trunkline 30000
sentinel parallel-syncs trunkline 1
EOF
exec valkey-server /data/sentinel.conf --sentinel
