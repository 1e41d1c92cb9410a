// A release to roll out: answers on $PORT with what the file `release` says, "VERSION PERCENT".
//
// PERCENT of the answers to everything but /up have status 500, at random. It ends at once on
// SIGTERM, as careless programs do: not losing requests is the deployer's business.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void add(int poller, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

int main(void) {
  char version[64] = "none";
  double percent = 0;
  FILE *release = fopen("release", "r");
  if (!release || fscanf(release, "%63s %lf", version, &percent) != 2 || !getenv("PORT")) {
    fprintf(stderr, "needs a file `release` and $PORT\n");
    return 1;
  }
  srand48(time(NULL) ^ getpid());
  int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poller = epoll_create1(0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(getenv("PORT")))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) {
    perror("server");
    return 1;
  }
  add(poller, listener);
  for (;;) {
    struct epoll_event events[256];
    int ready = epoll_wait(poller, events, 256, -1);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd, client;
      if (fd == listener) {
        while ((client = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
          setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
          add(poller, client);
        }
        continue;
      }
      char buffer[65536], answer[256];
      ssize_t size = read(fd, buffer, sizeof buffer - 1);
      if (size <= 0) {
        close(fd);
        continue;
      }
      buffer[size] = 0;
      for (char *request = buffer, *end; (end = strstr(request, "\r\n\r\n")); request = end + 4) {
        int is_bad = strncmp(request, "GET /up ", 8) != 0 && drand48() * 100 < percent;
        int length = snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nX-Version: %s\r\n\r\n%s",
                              is_bad ? "500 Internal Server Error" : "200 OK", strlen(version), version, version);
        if (write(fd, answer, length) < 0) break;
      }
    }
  }
}
