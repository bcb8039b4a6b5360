#include "http/exchange.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HOST_BYTES = 256, PORT_BYTES = 8 };

static bool refuse(const char *listen, struct error *err) {
    return error_set_field(
        err, ERROR_USAGE, "listen",
        "'%s' is not an address to listen on, such as 127.0.0.1:8080, [::1]:8080 "
        "or :8080",
        listen);
}

static bool is_port(const char *text) {
    size_t length = strlen(text);
    if (length == 0 || length > 5 || strspn(text, "0123456789") != length) {
        return false;
    }
    unsigned port = 0;
    for (size_t i = 0; i < length; i++) {
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    return port <= UINT16_MAX;
}

/* Splits "host:port" and "[host]:port"; an empty host is every address. */
static bool split(const char *listen, char host[static HOST_BYTES], const char **out_port,
                  struct error *err) {
    const char *colon = strrchr(listen, ':');
    if (colon == NULL || !is_port(colon + 1)) {
        return refuse(listen, err);
    }
    const char *from = listen;
    size_t length = (size_t)(colon - listen);
    if (length >= 2 && listen[0] == '[' && colon[-1] == ']') {
        from++;
        length -= 2;
    } else if (memchr(listen, ':', length) != NULL) {
        return refuse(listen, err);
    }
    if (length >= HOST_BYTES) {
        return refuse(listen, err);
    }
    memcpy(host, from, length);
    host[length] = '\0';
    *out_port = colon + 1;
    return true;
}

static bool open_socket(const struct addrinfo *wanted, const char *listen_on, int *out_fd,
                        struct error *err) {
    int fd = socket(wanted->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return error_set_errno(err, ERROR_IO, errno, "cannot open a socket");
    }
    int on = 1;
    int off = 0;
    /* Failing options change nothing that matters: bind tells. TCP_NODELAY is inherited by what is accepted,
     * so an answer is never held back for an acknowledgement. */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (wanted->ai_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    if (bind(fd, wanted->ai_addr, wanted->ai_addrlen) != 0 || listen(fd, SOMAXCONN) != 0) {
        int saved = errno;
        close(fd);
        error_set_errno(err, ERROR_IO, saved, "cannot listen on %s", listen_on);
        snprintf(err->field, sizeof err->field, "listen");
        return false;
    }
    *out_fd = fd;
    return true;
}

static bool format_bound(int fd, char out_address[static 80], struct error *err) {
    struct sockaddr_storage bound;
    socklen_t bound_bytes = sizeof bound;
    char host[64];
    char port[PORT_BYTES];
    if (getsockname(fd, (struct sockaddr *)&bound, &bound_bytes) != 0 ||
        getnameinfo((struct sockaddr *)&bound, bound_bytes, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return error_set_errno(err, ERROR_IO, errno, "cannot tell the bound address");
    }
    snprintf(out_address, 80, strchr(host, ':') == NULL ? "%s:%s" : "[%s]:%s", host, port);
    return true;
}

bool address_listen(const char *listen_on, int *out_fd, char out_address[static 80],
                    struct error *err) {
    char host[HOST_BYTES];
    const char *port = "";
    if (!split(listen_on, host, &port, err)) {
        return false;
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int failure = getaddrinfo(*host == '\0' ? NULL : host, port, &hints, &found);
    if (failure != 0) {
        return error_set_field(err, ERROR_USAGE, "listen", "cannot resolve '%s': %s", listen_on,
                               gai_strerror(failure));
    }
    int fd = -1;
    bool ok = open_socket(found, listen_on, &fd, err);
    freeaddrinfo(found);
    if (!ok) {
        return false;
    }
    if (!format_bound(fd, out_address, err)) {
        close(fd);
        return false;
    }
    *out_fd = fd;
    return true;
}
