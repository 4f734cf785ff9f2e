# Sourced. Sets $master to whom the sentinels name, or to $FIRST_MASTER when none answers.
master=""
for sentinel in $SENTINELS; do
  answer=$(timeout 2 valkey-cli -h "$sentinel" -p 26379 --raw \
    sentinel get-master-addr-by-name trunkline 2>/dev/null || true)
  master=$(printf '%s\n' "$answer" | head -n 1)
  case "$master" in
    "" | *" "*) master="" ;; # nobody there, or an error in words
    *) break ;;
  esac
done
master=${master:-$FIRST_MASTER}
