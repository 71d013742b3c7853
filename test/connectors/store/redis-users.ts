/** The least a user needs; the line stands in docs/reference/redis-store.md, and a test compares the two. */

/** Rules after `user <name> on ><password>`. */
export const leastRules = [
  'resetkeys ~ss:* resetchannels -@all',
  '+info +select +client|setname',
  '+eval +evalsha +time +memory|usage',
  '+get +mget +set +del +unlink +exists',
  '+hget +hmget +hset +hsetnx +hgetall +hkeys +hlen',
  '+lrange +llen +rpush +sadd +srem +smembers +zadd +zrange',
].join(' ')

/** Further rules in a cluster. */
export const clusterRules = '+cluster|slots +cluster|info +asking'
