// A tiny HTTP/1.1 keep-alive server: one thread, epoll, the same answer to every request. `upstream PORT`
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nhello, world\n";

static void add(int poller, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

int main(int count, char **arguments) {
  int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poller = epoll_create1(0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(arguments[1]) : 9000)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) {
    perror("upstream");
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
      char buffer[65536];
      ssize_t size = read(fd, buffer, sizeof buffer - 1);
      if (size <= 0) {
        close(fd);
        continue;
      }
      buffer[size] = 0;
      for (char *at = buffer; (at = strstr(at, "\r\n\r\n")); at += 4)
        if (write(fd, answer, sizeof answer - 1) < 0) break;
    }
  }
}
