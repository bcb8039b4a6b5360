#include "http/exchange.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { HOST_BYTES = 256, PORT_BYTES = 8 };

static bool refuse(const char *listen, struct error *err) {
    return error_set_field(
        err, ERROR_USAGE, "listen",
        "'%s' is not an address to listen on, such as 127.0.0.1:8080, [::1]:8080, "
        ":8080 or unix:/run/orrery.sock",
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

static bool format_bound(int fd, char out_address[static ADDRESS_BYTES], struct error *err) {
    struct sockaddr_storage bound;
    socklen_t bound_bytes = sizeof bound;
    char host[64];
    char port[PORT_BYTES];
    if (getsockname(fd, (struct sockaddr *)&bound, &bound_bytes) != 0 ||
        getnameinfo((struct sockaddr *)&bound, bound_bytes, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return error_set_errno(err, ERROR_IO, errno, "cannot tell the bound address");
    }
    snprintf(out_address, ADDRESS_BYTES, strchr(host, ':') == NULL ? "%s:%s" : "[%s]:%s", host,
             port);
    return true;
}

static bool address_listen_tcp(const char *listen_on, int *out_fd,
                               char out_address[static ADDRESS_BYTES], struct error *err) {
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

/* --- in the file system ------------------------------------------------------------------------- */

static const char unix_prefix[] = "unix:";

enum {
    UNIX_PREFIX_BYTES = sizeof unix_prefix - 1,
    SOCKET_MODE = 0660, /* for the group that the applications belong to */
};

_Static_assert(ADDRESS_BYTES >= UNIX_PREFIX_BYTES + sizeof(((struct sockaddr_un *)0)->sun_path),
               "any path fits");

static const char *unix_path(const char *address) {
    bool is_unix = strncmp(address, unix_prefix, UNIX_PREFIX_BYTES) == 0;
    return is_unix ? address + UNIX_PREFIX_BYTES : NULL;
}

static bool refuse_path(struct error *err, int failure, const char *what, const char *path) {
    if (failure != 0) {
        error_set_errno(err, ERROR_IO, failure, "%s %s", what, path);
    } else {
        error_set(err, ERROR_IO, "%s %s", what, path);
    }
    snprintf(err->field, sizeof err->field, "listen");
    return false;
}

/* Makes room for the socket: one that nobody listens on any more is what a killed server left behind. */
static bool remove_stale(const struct sockaddr_un *place, struct error *err) {
    struct stat status;
    if (lstat(place->sun_path, &status) != 0) {
        return errno == ENOENT || refuse_path(err, errno, "cannot listen on", place->sun_path);
    }
    if (!S_ISSOCK(status.st_mode)) {
        return refuse_path(err, 0, "cannot listen: there is something that is no socket at",
                           place->sun_path);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return refuse_path(err, errno, "cannot open a socket for", place->sun_path);
    }
    int failure =
        connect(fd, (const struct sockaddr *)place, sizeof *place) == 0 ? EADDRINUSE : errno;
    close(fd);
    /* Anything but a refusal means that somebody listens, or that this cannot be told. */
    if (failure == ECONNREFUSED && (unlink(place->sun_path) == 0 || errno == ENOENT)) {
        return true;
    }
    return refuse_path(err, failure == ECONNREFUSED ? errno : failure, "cannot listen on",
                       place->sun_path);
}

/* Nobody can connect before listen(2), so the mode is in force from the first connection on. */
static bool open_unix_socket(const struct sockaddr_un *place, int *out_fd, struct error *err) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0 && bind(fd, (const struct sockaddr *)place, sizeof *place) == 0 &&
              chmod(place->sun_path, SOCKET_MODE) == 0 && listen(fd, SOMAXCONN) == 0;
    if (!ok) {
        int saved = errno;
        if (fd >= 0) {
            close(fd);
        }
        return refuse_path(err, saved, "cannot listen on", place->sun_path);
    }
    *out_fd = fd;
    return true;
}

static bool address_listen_unix(const char *listen_on, int *out_fd,
                                char out_address[static ADDRESS_BYTES], struct error *err) {
    const char *path = unix_path(listen_on);
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    if (*path == '\0' || strlen(path) >= sizeof place.sun_path) {
        return error_set_field(err, ERROR_USAGE, "listen",
                               "'%s': a socket's path has 1 to %zu bytes", listen_on,
                               sizeof place.sun_path - 1);
    }
    memcpy(place.sun_path, path, strlen(path) + 1);
    if (!remove_stale(&place, err) || !open_unix_socket(&place, out_fd, err)) {
        return false;
    }
    snprintf(out_address, ADDRESS_BYTES, "%s%s", unix_prefix, path);
    return true;
}

bool address_listen(const char *listen_on, int *out_fd, char out_address[static ADDRESS_BYTES],
                    struct error *err) {
    return unix_path(listen_on) != NULL ? address_listen_unix(listen_on, out_fd, out_address, err)
                                        : address_listen_tcp(listen_on, out_fd, out_address, err);
}

void address_remove(int fd, const char *address) {
    const char *path = unix_path(address);
    if (path == NULL) {
        return;
    }
    /* Whoever came after found nobody listening and put a socket of his own there: his answers, this one's does not, for
     * it is shut down first. */
    (void)shutdown(fd, SHUT_RDWR);
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    memcpy(place.sun_path, path, strlen(path) + 1);
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe >= 0) {
        if (connect(probe, (const struct sockaddr *)&place, sizeof place) != 0 &&
            errno == ECONNREFUSED) {
            (void)unlink(path);
        }
        close(probe);
    }
}
