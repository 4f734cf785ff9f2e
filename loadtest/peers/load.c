// Generator and sink of the relay's benchmarks, in one loop on one core: it sends packets that
// were prepared before, and counts, times and samples what comes back. One thread, so that the
// sink never waits for the generator to be scheduled away.
//
// usage: load TALLY_FD WINDOW NAP_US [rx:FD:KIND | tx:FD:FILE_FD:RATE:BURST:SEGMENT]...
//   rx  count what arrives on FD; KIND says where a stamp is: plain (in the datagram), keyed
//       (behind 8 bytes) or trunk (in each frame of a trunk datagram)
//   tx  send the packets of FILE_FD over FD at RATE frames a second, BURST a time; SEGMENT
//       neighbours in the file go out as one UDP_SEGMENT send. RATE 0 is for the first stream
//       only: as fast as WINDOW allows, which is how many frames may be under way unanswered.
//       So the peer always has work, its buffers never overflow, and no effort is wasted.
//   NAP_US sleeps between rounds instead of spinning.
// Runs until it is killed or its parent ends; the tally is shared memory (loadtest tally.py).
//
// Stream file (loadtest streams.py), host order but for the addresses:
//   64-byte head, records, patches, data. A record is one packet; patch n (20 bytes) is written
//   over bytes 4..23 of the packet in the n-th send: a trunk datagram's tag, sender, time and
//   count, so that no two are alike. A file with patches ends with them; others go round.
// A stamp is 16 bytes: magic, flow number, CLOCK_MONOTONIC ns of the send, which we write.

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum {
  MAX_STREAMS = 8,
  MAX_SINKS = 8,
  MAX_BURST = 64,
  RECEIVE_BATCH = 128,
  SLOT_BYTES = 2048,
  PATCH_BYTES = 20,
  PATCH_AT = 4,
  HISTOGRAM_SLOTS = 1 << 18,
  HISTOGRAM_STEP_NS = 250,
  MAX_FLOWS = 1 << 18,
  SAMPLES = 64,
  TRUNK_HEADER = 24,
  TRUNK_ENTRY = 24,
  STAMP_AT = 12,  // behind an RTP header
  STAMP_BYTES = 16,
};
static const uint32_t MAGIC = 0x51A4B37C;
static const uint64_t GIVE_UP_NS = 100000000;     // nothing came back for so long: it was lost
static const uint64_t MAX_CATCH_UP_NS = 20000000;  // a generator that was held up does not flood

struct tally {
  uint64_t recording;  // written by the other side: latencies count from now on
  uint64_t running, exhausted, window_full, rounds, window_lost, stalls, unsent;
  uint64_t sent[MAX_STREAMS];      // frames
  uint64_t datagrams, frames, bytes, stamped, unstamped, last_ns, max_gap_ns;
  uint64_t stop;                   // written by the other side: send no more
  uint64_t by_sink[MAX_SINKS];     // datagrams
  uint64_t histogram[HISTOGRAM_SLOTS];
  uint64_t flow_first_ns[MAX_FLOWS];  // 0 until a stamped frame came; cleared by the other side
  uint64_t flow_frames[MAX_FLOWS];
  uint32_t sample_bytes[SAMPLES];
  unsigned char samples[SAMPLES][SLOT_BYTES];
};

struct head {
  uint64_t packets, patches, records_at, patches_at, data_at, bytes;
  struct in_addr to;
  in_port_t to_port;
  uint16_t unused[5];
};

struct record {
  uint32_t at, length;
  struct in_addr from;
  uint32_t stamp_at, stamp_stride, stamps, frames, unused;  // stamp_at: of its time
};

struct stream {
  int fd, burst, segment;
  double rate;
  const struct head *head;
  struct record *records;
  unsigned char *patches, *data;
  struct sockaddr_in to;
  uint64_t next, patch, next_ns;
};

struct control {
  struct cmsghdr from_head;
  struct in_pktinfo from;
  char pad[CMSG_SPACE(sizeof(struct in_pktinfo)) - CMSG_LEN(sizeof(struct in_pktinfo))];
  struct cmsghdr segment_head;
  uint16_t segment;
  char segment_pad[CMSG_SPACE(sizeof(uint16_t)) - CMSG_LEN(sizeof(uint16_t))];
};

enum kind { PLAIN, KEYED, TRUNK };
struct sink {
  int fd;
  enum kind kind;
};

static volatile struct tally *tally;
static struct stream streams[MAX_STREAMS];
static struct sink sinks[MAX_SINKS];
static int stream_count, sink_count;
static uint64_t window, window_base, progress_ns;

static struct mmsghdr out_headers[MAX_BURST];
static struct iovec out_parts[MAX_BURST];
static struct control out_controls[MAX_BURST];
static struct mmsghdr in_headers[RECEIVE_BATCH];
static struct iovec in_parts[RECEIVE_BATCH];
static unsigned char in_slots[RECEIVE_BATCH][SLOT_BYTES];
static unsigned char in_controls[RECEIVE_BATCH][CMSG_SPACE(sizeof(struct timespec))];

static uint64_t in_ns(struct timespec time) {
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return in_ns(now);
}

static uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

static void fail(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void stamp(const struct record *record, unsigned char *packet, uint64_t now) {
  for (uint32_t i = 0; i < record->stamps; i++)
    memcpy(packet + record->stamp_at + i * record->stamp_stride, &now, sizeof now);
}

// One message of `segment` packets; returns how many frames it carries.
static uint32_t lay_out(struct stream *stream, int slot, uint64_t now) {
  struct record *first = &stream->records[stream->next];
  uint32_t frames = 0, bytes = 0;
  for (int i = 0; i < stream->segment; i++) {
    struct record *record = first + i;
    unsigned char *packet = stream->data + record->at;
    if (stream->head->patches)
      memcpy(packet + PATCH_AT, stream->patches + stream->patch++ * PATCH_BYTES, PATCH_BYTES);
    stamp(record, packet, now);
    frames += record->frames;
    bytes += record->length;
  }
  stream->next += stream->segment;
  if (stream->next >= stream->head->packets) stream->next = 0;

  out_parts[slot] = (struct iovec){stream->data + first->at, bytes};
  struct control *control = &out_controls[slot];
  control->from.ipi_spec_dst = first->from;
  control->segment = (uint16_t)first->length;
  struct msghdr *header = &out_headers[slot].msg_hdr;
  header->msg_name = &stream->to;
  header->msg_namelen = sizeof stream->to;
  header->msg_iov = &out_parts[slot];
  header->msg_iovlen = 1;
  bool named = first->from.s_addr != 0, segmented = stream->segment > 1;
  header->msg_control = named ? (void *)control : (void *)&control->segment_head;
  header->msg_controllen = (named ? CMSG_SPACE(sizeof(struct in_pktinfo)) : 0) +
                           (segmented ? CMSG_SPACE(sizeof(uint16_t)) : 0);
  return frames;
}

static uint64_t left(const struct stream *stream) {
  return stream->head->patches ? stream->head->patches - stream->patch : UINT64_MAX;
}

static uint64_t send_burst(int number, uint64_t now) {
  struct stream *stream = &streams[number];
  int messages = 0;
  uint64_t frames = 0;
  uint32_t each[MAX_BURST];
  while (messages < stream->burst && left(stream) >= (uint64_t)stream->segment) {
    each[messages] = lay_out(stream, messages, now);
    messages++;
    // A template that is patched again before it was sent would be sent twice alike.
    if (stream->next == 0) break;
  }
  if (!messages) {
    tally->exhausted = 1;
    return 0;
  }
  int done = 0;
  while (done < messages) {
    int taken = sendmmsg(stream->fd, out_headers + done, messages - done, 0);
    if (taken <= 0) {
      tally->unsent += each[done++];
      continue;
    }
    for (int i = 0; i < taken; i++) frames += each[done + i];
    done += taken;
  }
  tally->sent[number] += frames;
  return frames;
}

static bool window_open(uint64_t now) {
  uint64_t under_way = tally->sent[0] - window_base - tally->frames;
  if ((int64_t)under_way < (int64_t)window) return true;
  tally->window_full++;
  if (now - progress_ns > GIVE_UP_NS) {
    tally->window_lost += under_way;
    window_base += under_way;
    progress_ns = now;
  }
  return false;
}

static void serve_stream(int number, uint64_t now) {
  struct stream *stream = &streams[number];
  if (stream->rate == 0) {
    if (window_open(now)) send_burst(number, now);
    return;
  }
  if (!stream->next_ns) stream->next_ns = now;
  if (now < stream->next_ns) return;
  if (now - stream->next_ns > MAX_CATCH_UP_NS) {
    tally->stalls++;
    stream->next_ns = now;
  }
  stream->next_ns += (uint64_t)(1e9 * send_burst(number, now) / stream->rate);
}

static void take_stamp(const unsigned char *packet, uint32_t length, uint64_t now) {
  uint32_t magic = 0, flow;
  if (length >= STAMP_AT + STAMP_BYTES) memcpy(&magic, packet + STAMP_AT, 4);
  if (magic != MAGIC) {
    tally->unstamped++;
    return;
  }
  uint64_t sent_ns;
  memcpy(&flow, packet + STAMP_AT + 4, 4);
  memcpy(&sent_ns, packet + STAMP_AT + 8, 8);
  tally->stamped++;
  if (flow < MAX_FLOWS) {
    tally->flow_frames[flow]++;
    if (!tally->flow_first_ns[flow]) tally->flow_first_ns[flow] = now;
  }
  if (!tally->recording) return;
  uint64_t slot = (now - sent_ns) / HISTOGRAM_STEP_NS;
  tally->histogram[slot < HISTOGRAM_SLOTS ? slot : HISTOGRAM_SLOTS - 1]++;
}

static uint32_t take_trunk(const unsigned char *datagram, uint32_t length, uint64_t now) {
  uint32_t frames = length < TRUNK_HEADER ? 0 : datagram[2];
  uint32_t at = TRUNK_HEADER + TRUNK_ENTRY * frames;
  if (at > length) return 0;
  for (uint32_t i = 0; i < frames; i++) {
    const unsigned char *entry = datagram + TRUNK_HEADER + TRUNK_ENTRY * i;
    uint32_t size = (uint32_t)entry[18] << 8 | entry[19];
    if (at + size > length) return 0;
    take_stamp(datagram + at, size, now);
    at += size;
  }
  return frames;
}

static void take(enum kind kind, const unsigned char *datagram, uint32_t length, uint64_t now) {
  uint32_t frames = 1;
  if (kind == TRUNK)
    frames = take_trunk(datagram, length, now);
  else if (kind == KEYED)
    take_stamp(datagram + 8, length < 8 ? 0 : length - 8, now);
  else
    take_stamp(datagram, length, now);
  uint64_t sample = tally->datagrams++ % (SAMPLES * 64);
  if (sample < SAMPLES) {
    tally->sample_bytes[sample] = length;
    memcpy((void *)tally->samples[sample], datagram, length < SLOT_BYTES ? length : SLOT_BYTES);
  }
  tally->frames += frames;
  tally->bytes += length;
}

// When the kernel had the datagram (SO_TIMESTAMPNS), on our clock: that others run on this core
// before we look is no latency of the path.
static uint64_t arrived_ns(struct msghdr *header, uint64_t now, uint64_t real_now) {
  struct cmsghdr *control = CMSG_FIRSTHDR(header);
  if (!control || control->cmsg_type != SCM_TIMESTAMPNS) return now;
  struct timespec real;
  memcpy(&real, CMSG_DATA(control), sizeof real);
  uint64_t ago = real_now - in_ns(real);
  return ago < now ? now - ago : now;
}

static bool serve_sink(int number) {
  const struct sink *sink = &sinks[number];
  for (int i = 0; i < RECEIVE_BATCH; i++)
    in_headers[i].msg_hdr.msg_controllen = sizeof in_controls[0];
  int count = recvmmsg(sink->fd, in_headers, RECEIVE_BATCH, MSG_DONTWAIT, NULL);
  if (count <= 0) return false;
  uint64_t now = now_ns(), real_now = clock_ns(CLOCK_REALTIME);
  if (tally->last_ns && now - tally->last_ns > tally->max_gap_ns)
    tally->max_gap_ns = now - tally->last_ns;
  tally->last_ns = progress_ns = now;
  tally->by_sink[number] += count;
  for (int i = 0; i < count; i++)
    take(sink->kind, in_slots[i], in_headers[i].msg_len,
         arrived_ns(&in_headers[i].msg_hdr, now, real_now));
  return count == RECEIVE_BATCH;
}

static void add_stream(const char *words) {
  struct stream *stream = &streams[stream_count];
  int file_fd;
  if (stream_count == MAX_STREAMS || sscanf(words, "tx:%d:%d:%lf:%d:%d", &stream->fd, &file_fd,
                                            &stream->rate, &stream->burst, &stream->segment) != 5)
    fail(words);
  struct head head;
  if (pread(file_fd, &head, sizeof head, 0) != sizeof head) fail("stream file");
  if (stream->burst < 1 || stream->burst > MAX_BURST || stream->segment < 1 || !head.packets ||
      head.packets % stream->segment || (stream->rate == 0 && stream_count))
    fail(words);
  unsigned char *file = mmap(NULL, head.bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_POPULATE, file_fd, 0);
  if (file == MAP_FAILED) fail("stream file");
  stream->head = (const struct head *)file;
  stream->records = (struct record *)(file + head.records_at);
  stream->patches = file + head.patches_at;
  stream->data = file + head.data_at;
  stream->to = (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = head.to_port, .sin_addr = head.to};
  stream_count++;
}

static void add_sink(const char *words) {
  struct sink *sink = &sinks[sink_count];
  char kind[8];
  if (sink_count == MAX_SINKS || sscanf(words, "rx:%d:%7s", &sink->fd, kind) != 2) fail(words);
  int on = 1;
  if (setsockopt(sink->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on)) fail("SO_TIMESTAMPNS");
  sink->kind = strcmp(kind, "trunk") == 0 ? TRUNK : strcmp(kind, "keyed") == 0 ? KEYED : PLAIN;
  sink_count++;
}

static void prepare(void) {
  for (int i = 0; i < RECEIVE_BATCH; i++) {
    in_parts[i] = (struct iovec){in_slots[i], SLOT_BYTES};
    in_headers[i].msg_hdr.msg_iov = &in_parts[i];
    in_headers[i].msg_hdr.msg_iovlen = 1;
    in_headers[i].msg_hdr.msg_control = in_controls[i];
  }
  for (int i = 0; i < MAX_BURST; i++) {
    struct control *control = &out_controls[i];
    control->from_head = (struct cmsghdr){
        CMSG_LEN(sizeof(struct in_pktinfo)), IPPROTO_IP, IP_PKTINFO};
    control->segment_head = (struct cmsghdr){
        CMSG_LEN(sizeof(uint16_t)), IPPROTO_UDP, UDP_SEGMENT};
  }
}

int main(int count, char **words) {
  if (count < 5) {
    fprintf(stderr, "usage: load TALLY_FD WINDOW NAP_US [rx:… | tx:…]...\n");
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_TIMERSLACK, 1);
  struct stat file;
  if (fstat(atoi(words[1]), &file) || file.st_size / 4096 != (sizeof *tally + 4095) / 4096)
    fail("tally is not as large as its struct");
  tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(words[1]), 0);
  if (tally == MAP_FAILED) fail("tally");
  window = strtoull(words[2], NULL, 10);
  struct timespec nap = {0, atol(words[3]) * 1000};
  for (int i = 4; i < count; i++)
    if (words[i][0] == 'r')
      add_sink(words[i]);
    else
      add_stream(words[i]);
  prepare();
  progress_ns = now_ns();
  tally->running = 1;
  for (;;) {
    tally->rounds++;
    for (int i = 0; i < stream_count && !tally->stop; i++) serve_stream(i, now_ns());
    for (int i = 0; i < sink_count; i++)
      while (serve_sink(i)) continue;
    if (nap.tv_nsec) nanosleep(&nap, NULL);
  }
}
