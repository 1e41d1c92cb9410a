// Sends GET / at a constant rate, whether or not answers come (open loop). `load PORT RATE`
//
// Prints for each request when it was due, when it was answered (microseconds since 1970) and the
// status, 0 when there was no whole answer within ten seconds. SIGTERM lets what is under way end.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 4096, PATIENCE = 10000000, ANSWER = 8192 };

struct connection {
  int fd, is_busy;
  long due;
  size_t size;
  char *answer;
};

static struct connection all[MOST];
static int poller, busy, port, highest;
static volatile sig_atomic_t is_over;

static void end(int signal) { is_over = signal; }

static long now(void) {
  struct timespec at;
  clock_gettime(CLOCK_REALTIME, &at);
  return at.tv_sec * 1000000L + at.tv_nsec / 1000;
}

static void drop(struct connection *one) {
  close(one->fd);
  one->fd = -1;
}

static void tell(struct connection *one, int status) {
  printf("%ld %ld %d\n", one->due, now(), status);
  one->is_busy = 0;
  one->size = 0;
  busy--;
}

static void ask(long due) {
  static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  struct connection *one = NULL;
  for (int i = 0; i < highest && !one; i++)
    if (!all[i].is_busy && all[i].fd >= 0) one = &all[i];
  for (int i = 0; i < highest && !one; i++)
    if (!all[i].is_busy) one = &all[i];
  if (!one && highest < MOST) one = &all[highest++];
  if (!one) {
    printf("%ld %ld 0\n", due, now());
    return;
  }
  one->due = due;
  one->size = 0;
  one->is_busy = 1;
  busy++;
  if (one->fd < 0) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int yes = 1;
    one->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    // Loopback answers at once or not at all, so this does not hold up the schedule.
    if (connect(one->fd, (void *)&address, sizeof address)) {
      drop(one);
      tell(one, 0);
      return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = one};
    epoll_ctl(poller, EPOLL_CTL_ADD, one->fd, &event);
  }
  if (send(one->fd, request, sizeof request - 1, MSG_NOSIGNAL) != sizeof request - 1) {
    drop(one);
    tell(one, 0);
  }
}

// Whether the answer is whole; every answer here has a content-length.
static int is_whole(struct connection *one) {
  one->answer[one->size] = 0;
  char *body = strstr(one->answer, "\r\n\r\n"), *length = strcasestr(one->answer, "\r\ncontent-length:");
  if (!body) return 0;
  size_t wanted = length && length < body ? strtoul(length + 17, NULL, 10) : 0;
  return one->size >= (size_t)(body + 4 - one->answer) + wanted;
}

static void read_answer(struct connection *one) {
  ssize_t got = recv(one->fd, one->answer + one->size, ANSWER - 1 - one->size, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) { // An idle connection may be closed by the server; that fails no request.
    drop(one);
    if (one->is_busy) tell(one, 0);
    return;
  }
  one->size += got;
  if (one->is_busy && is_whole(one)) {
    int status = atoi(one->answer + 9);
    int is_last = strcasestr(one->answer, "\r\nconnection: close") != NULL;
    tell(one, status);
    if (is_last) drop(one);
  }
}

int main(int count, char **arguments) {
  if (count != 3) return fprintf(stderr, "load PORT RATE\n"), 2;
  port = atoi(arguments[1]);
  double rate = atof(arguments[2]);
  setvbuf(stdout, NULL, _IOLBF, 0);
  signal(SIGTERM, end);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  for (int i = 0; i < MOST; i++) all[i].fd = -1, all[i].answer = malloc(ANSWER);
  struct rlimit files = {.rlim_cur = MOST + 64, .rlim_max = MOST + 64};
  if (setrlimit(RLIMIT_NOFILE, &files)) return perror("load: open files"), 1;
  poller = epoll_create1(0);
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct itimerspec each = {.it_interval = {.tv_nsec = 500000}, .it_value = {.tv_nsec = 1}};
  timerfd_settime(timer, 0, &each, NULL);
  struct epoll_event tick = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(poller, EPOLL_CTL_ADD, timer, &tick);
  long began = now(), sent = 0, looked = 0;
  while (!is_over || busy) {
    struct epoll_event events[256];
    int ready = epoll_wait(poller, events, 256, 100);
    for (int i = 0; i < ready; i++) {
      unsigned long ticks;
      if (events[i].data.ptr)
        read_answer(events[i].data.ptr);
      else if (read(timer, &ticks, sizeof ticks) < 0)
        continue;
    }
    long due;
    while (!is_over && (due = began + (long)(sent * 1e6 / rate)) <= now()) {
      ask(due);
      sent++;
    }
    if (now() - looked < 100000) continue;
    looked = now();
    for (int i = 0; i < highest; i++)
      if (all[i].is_busy && looked - all[i].due > PATIENCE) {
        drop(&all[i]);
        tell(&all[i], 0);
      }
  }
  return 0;
}
