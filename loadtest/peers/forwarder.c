// The measure for the relay: a 1:1 UDP forwarder as one would write it in C for one core.
//
//   clients ──packet──▶ [client socket]  forwarder  [upstream socket] ──key · packet──▶ node
//   clients ◀──packet── [client socket]  forwarder  [upstream socket] ◀──key · packet── node
//
// Each packet goes on as one packet. Up, the sender's address is its flow's 8-byte key; the key
// is looked up in a hash table (made on first sight, no authentication) and written before the
// packet, so that the node can answer. Down, the key before the packet is looked up and gives the
// client. Both directions receive and send whole batches in place: no copy, one system call each.
// It checks no token, no tag and no replay, so it does less than the relay for every packet.
//
// usage: forwarder CLIENT_FD UPSTREAM_FD TALLY_FD BATCH
// The sockets are bound, the upstream one also connected, by who starts us. The tally is shared
// memory: up and down packets forwarded, flows. Ends with the process that started it.

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

enum {
  MAX_BATCH = 256,
  KEY_BYTES = 8,
  SLOT_BYTES = 2048,
  TABLE_BITS = 18,
  TABLE_SLOTS = 1 << TABLE_BITS,
  MAX_FLOWS = TABLE_SLOTS * 2 / 3,
  BATCHES_A_WAKE = 4,
};

struct tally {
  uint64_t up_packets, down_packets, flows, unknown, unsent;
};

struct flow {
  uint64_t key;  // 0: free
  struct sockaddr_in client;
  uint32_t seen_s;
  uint32_t unused;
};

struct batch {
  struct mmsghdr headers[MAX_BATCH];
  struct iovec parts[MAX_BATCH];
  struct sockaddr_in names[MAX_BATCH];
  unsigned char slots[MAX_BATCH][KEY_BYTES + SLOT_BYTES];
};

static struct flow table[TABLE_SLOTS];
static struct batch from_clients, from_node;
static struct mmsghdr outgoing[MAX_BATCH];
static struct iovec outgoing_parts[MAX_BATCH];
static struct tally *tally;

static uint64_t key_of(const struct sockaddr_in *address) {
  return (uint64_t)address->sin_addr.s_addr << 16 | address->sin_port;
}

static struct flow *find(uint64_t key) {
  uint64_t slot = key * 0x9E3779B97F4A7C15u >> (64 - TABLE_BITS);
  while (table[slot].key != key && table[slot].key != 0) slot = (slot + 1) & (TABLE_SLOTS - 1);
  return &table[slot];
}

// Room before the packet for its key, so that going up needs no second part.
static void prepare(struct batch *batch, int size, int offset) {
  for (int i = 0; i < size; i++) {
    batch->parts[i].iov_base = batch->slots[i] + offset;
    batch->parts[i].iov_len = SLOT_BYTES;
    struct msghdr *header = &batch->headers[i].msg_hdr;
    header->msg_iov = &batch->parts[i];
    header->msg_iovlen = 1;
    if (offset) header->msg_name = &batch->names[i];
  }
}

static int receive(int fd, struct batch *batch, int size) {
  for (int i = 0; i < size; i++) batch->headers[i].msg_hdr.msg_namelen = sizeof batch->names[0];
  return recvmmsg(fd, batch->headers, size, MSG_DONTWAIT, NULL);
}

// A message the kernel refuses does not stop those behind it; a full buffer loses the rest.
static int send_all(int fd, int count) {
  int done = 0, sent = 0;
  while (done < count) {
    int taken = sendmmsg(fd, outgoing + done, count - done, MSG_DONTWAIT);
    if (taken > 0) {
      done += taken;
      sent += taken;
    } else if (errno == EAGAIN || errno == ENOBUFS) {
      break;
    } else {
      done++;
    }
  }
  tally->unsent += count - sent;
  return sent;
}

static void put_out(int i, void *base, size_t length, struct sockaddr_in *name) {
  outgoing_parts[i] = (struct iovec){base, length};
  struct msghdr *header = &outgoing[i].msg_hdr;
  header->msg_iov = &outgoing_parts[i];
  header->msg_iovlen = 1;
  header->msg_name = name;
  header->msg_namelen = name ? sizeof *name : 0;
}

static int up(int client_fd, int upstream_fd, int size, uint32_t now_s) {
  int count = receive(client_fd, &from_clients, size), going = 0;
  for (int i = 0; i < count; i++) {
    struct sockaddr_in *client = &from_clients.names[i];
    uint64_t key = key_of(client);
    struct flow *flow = find(key);
    if (!flow->key) {
      if (tally->flows == MAX_FLOWS) {
        tally->unknown++;
        continue;
      }
      flow->key = key;
      flow->client = *client;
      tally->flows++;
    }
    flow->seen_s = now_s;
    memcpy(from_clients.slots[i], &key, KEY_BYTES);
    put_out(going++, from_clients.slots[i], KEY_BYTES + from_clients.headers[i].msg_len, NULL);
  }
  if (going) tally->up_packets += send_all(upstream_fd, going);
  return count;
}

static int down(int client_fd, int upstream_fd, int size, uint32_t now_s) {
  int count = receive(upstream_fd, &from_node, size), going = 0;
  for (int i = 0; i < count; i++) {
    uint64_t key;
    memcpy(&key, from_node.slots[i], KEY_BYTES);
    struct flow *flow = find(key);
    if (!key || !flow->key || from_node.headers[i].msg_len < KEY_BYTES) {
      tally->unknown++;
      continue;
    }
    flow->seen_s = now_s;
    size_t length = from_node.headers[i].msg_len - KEY_BYTES;
    put_out(going++, from_node.slots[i] + KEY_BYTES, length, &flow->client);
  }
  if (going) tally->down_packets += send_all(client_fd, going);
  return count;
}

static uint32_t coarse_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return (uint32_t)now.tv_sec;
}

int main(int count, char **words) {
  if (count != 5) {
    fprintf(stderr, "usage: forwarder CLIENT_FD UPSTREAM_FD TALLY_FD BATCH\n");
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int client_fd = atoi(words[1]), upstream_fd = atoi(words[2]), size = atoi(words[4]);
  if (size < 1 || size > MAX_BATCH) {
    fprintf(stderr, "forwarder: a batch is 1 to %d packets\n", MAX_BATCH);
    return 2;
  }
  tally = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(words[3]), 0);
  if (tally == MAP_FAILED) {
    perror("forwarder: tally");
    return 1;
  }
  prepare(&from_clients, size, KEY_BYTES);
  prepare(&from_node, size, 0);
  int poll_fd = epoll_create1(0);
  int fds[2] = {client_fd, upstream_fd};
  for (int i = 0; i < 2; i++) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fds[i]};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fds[i], &event)) {
      perror("forwarder: epoll");
      return 1;
    }
  }
  for (;;) {
    struct epoll_event ready[2];
    int woken = epoll_wait(poll_fd, ready, 2, -1);
    uint32_t now_s = coarse_s();
    for (int i = 0; i < woken; i++)
      for (int round = 0; round < BATCHES_A_WAKE; round++) {
        int taken = ready[i].data.fd == client_fd ? up(client_fd, upstream_fd, size, now_s)
                                                  : down(client_fd, upstream_fd, size, now_s);
        if (taken < size) break;
      }
  }
}
