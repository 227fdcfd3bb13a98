/*
 * Gives each pod its own 0.0.0.0, and an interface with its address.
 *
 * Pods of the process node share the machine's network, so two servers that listen on all addresses would collide.
 * Preloaded into a container's processes, this turns a bind to "any address" into a bind to the pod's own one, and adds
 * the pod's address to the list of those of all interfaces, among which gloo looks for it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

typedef int (*bind_function)(int, const struct sockaddr *, socklen_t);

static int pod_address(struct in_addr *address)
{
    const char *text = getenv("PROCESS_NODE_POD_ADDRESS");
    return text != NULL && inet_pton(AF_INET, text, address) == 1;
}

static int bind_any_ipv4(bind_function real, int socket, const struct sockaddr_in *asked, struct in_addr address)
{
    struct sockaddr_in own = *asked;
    own.sin_addr = address;
    return real(socket, (const struct sockaddr *)&own, sizeof own);
}

/* A socket for IPv6 alone gets a harmless port of ::1: pods have IPv4 addresses only. */
static int bind_any_ipv6(bind_function real, int socket, const struct sockaddr_in6 *asked, struct in_addr address)
{
    struct sockaddr_in6 own = *asked;
    int only = 0;
    socklen_t size = sizeof only;
    getsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, &only, &size);
    if (only) {
        own.sin6_addr = in6addr_loopback;
        own.sin6_port = 0;
    } else {
        memset(&own.sin6_addr, 0, sizeof own.sin6_addr);
        own.sin6_addr.s6_addr[10] = own.sin6_addr.s6_addr[11] = 0xff;
        memcpy(&own.sin6_addr.s6_addr[12], &address, sizeof address);
    }
    return real(socket, (const struct sockaddr *)&own, sizeof own);
}

int bind(int socket, const struct sockaddr *asked, socklen_t length)
{
    bind_function real = (bind_function)dlsym(RTLD_NEXT, "bind");
    struct in_addr address;
    if (asked != NULL && pod_address(&address)) {
        const struct sockaddr_in *ipv4 = (const struct sockaddr_in *)asked;
        const struct sockaddr_in6 *ipv6 = (const struct sockaddr_in6 *)asked;
        if (asked->sa_family == AF_INET && ipv4->sin_addr.s_addr == INADDR_ANY)
            return bind_any_ipv4(real, socket, ipv4, address);
        if (asked->sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&ipv6->sin6_addr))
            return bind_any_ipv6(real, socket, ipv6, address);
    }
    return real(socket, asked, length);
}

struct own_interface {
    struct ifaddrs entry; /* first, so that the list begins with it */
    struct sockaddr_in address, mask;
};

int getifaddrs(struct ifaddrs **list)
{
    int (*real)(struct ifaddrs **) = (int (*)(struct ifaddrs **))dlsym(RTLD_NEXT, "getifaddrs");
    struct in_addr address;
    struct own_interface *own;
    int failed = real(list);
    if (failed || !pod_address(&address))
        return failed;
    own = calloc(1, sizeof *own);
    if (own == NULL)
        abort();
    own->address.sin_addr = address;
    own->address.sin_family = own->mask.sin_family = AF_INET;
    own->mask.sin_addr.s_addr = INADDR_NONE;
    own->entry.ifa_name = "lo"; /* the device behind it */
    own->entry.ifa_flags = IFF_UP | IFF_RUNNING;
    own->entry.ifa_addr = (struct sockaddr *)&own->address;
    own->entry.ifa_netmask = (struct sockaddr *)&own->mask;
    own->entry.ifa_next = *list;
    *list = &own->entry;
    return 0;
}

void freeifaddrs(struct ifaddrs *list)
{
    void (*real)(struct ifaddrs *) = (void (*)(struct ifaddrs *))dlsym(RTLD_NEXT, "freeifaddrs");
    struct in_addr address;
    if (list != NULL && pod_address(&address)) {
        struct ifaddrs *others = list->ifa_next;
        free(list);
        list = others;
    }
    real(list);
}
