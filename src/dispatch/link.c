#include "dispatch/link.h"

enum {
    SHORT_LIFE_MS = 1000,
    FIRST_DELAY_MS = 100,
    DOUBLINGS_MAXIMUM = 7, /* 12.8 s */
    JOBS_PER_WORKER_MAXIMUM = 64,
    /* So much work of fast models may lie with one worker: enough to hide the way there and back (about 60 us
     * between two cores), little enough that nothing waits long behind it. */
    WORKER_LOAD_US = 2000,
};

void worker_link_init(struct worker_link *link) {
    *link = (struct worker_link){.takes_more = true};
    channel_init(&link->channel, -1);
    list_init(&link->jobs);
}

bool worker_link_spawn(struct worker_link *link, const struct worker_options *options,
                       struct monotonic_time now, struct error *err) {
    link->spawned_at = now;
    link->spawn_again_at = (struct monotonic_time){now.us + FIRST_DELAY_MS * US_PER_MS};
    int socket;
    if (!worker_spawn(options, &link->pid, &socket, err)) {
        return false;
    }
    channel_init(&link->channel, socket);
    return true;
}

bool worker_link_kill(struct worker_link *link, bool has_failed, struct monotonic_time now,
                      char out_reason[static WORKER_REASON_BYTES]) {
    bool wants_replacement = worker_kill(link->pid, link->channel.socket, out_reason);
    link->pid = 0;
    channel_fini(&link->channel);
    link->takes_more = true;
    /* One that keeps dying young comes back later and later; that it was killed for its job is not its fault. */
    bool short_life = monotonic_time_since(now, link->spawned_at).us < SHORT_LIFE_MS * US_PER_MS;
    link->short_lives =
        has_failed && short_life ? MIN_OF(link->short_lives + 1, (uint32_t)DOUBLINGS_MAXIMUM) : 0;
    int64_t delay_us =
        link->short_lives <= 1 ? 0 : (FIRST_DELAY_MS * US_PER_MS) << (link->short_lives - 1);
    link->spawn_again_at = (struct monotonic_time){now.us + delay_us};
    return wants_replacement;
}

struct worker_link *worker_links_choose(struct worker_link *links, uint32_t count, bool is_fast,
                                        int64_t mean_us) {
    struct worker_link *best = NULL;
    for (uint32_t i = 0; i < count; i++) {
        struct worker_link *link = &links[i];
        bool has_room = link->job_count == 0 ||
                        (is_fast && link->takes_more && link->job_count < JOBS_PER_WORKER_MAXIMUM &&
                         link->load_us + mean_us <= WORKER_LOAD_US);
        if (link->pid != 0 && has_room && (best == NULL || link->load_us < best->load_us)) {
            best = link;
        }
    }
    return best;
}

int64_t worker_link_due_us(struct worker_link *link) {
    struct dispatch_job *head = worker_link_head(link);
    if (link->pid == 0) {
        return link->spawn_again_at.us;
    }
    return head == NULL ? 0 : head->begun_at.us + head->limit.us;
}
