# A server that follows the master, unless it is the master.
set -eu
. /etc/redis/current-master.sh
if [ "$master" = "$ANNOUNCED" ]; then following=""; else following="--replicaof $master 6379"; fi
# Without a replica to hear it, a master takes no writes: one that is cut off must not lease node
# indexes that the new master leases too.
# shellcheck disable=SC2086
exec valkey-server /etc/redis/redis.conf --bind "$POD_IP" --include /etc/redis-auth/redis.conf \
  --replica-announce-ip "$ANNOUNCED" --repl-diskless-sync-delay 0 \
  --min-replicas-to-write 1 --min-replicas-max-lag 10 $following
