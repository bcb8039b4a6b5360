/* Intrusive doubly linked list: a node inside the element, a head that is a node of its own. The list
 * owns nothing. */
#ifndef ORRERY_BASE_LIST_H
#define ORRERY_BASE_LIST_H

#include "base/base.h"

struct list_node {
    struct list_node *next;
    struct list_node *previous;
};

/* As a head: an empty list. As an element: in no list, so that list_remove is harmless. */
static inline void list_init(struct list_node *node) {
    node->next = node;
    node->previous = node;
}
static inline bool list_is_empty(const struct list_node *head) { return head->next == head; }

static inline void list_append(struct list_node *head, struct list_node *node) {
    node->previous = head->previous;
    node->next = head;
    head->previous->next = node;
    head->previous = node;
}
static inline void list_prepend(struct list_node *head, struct list_node *node) {
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it loses sight of a removal through the neighbours */
    list_append(head->next, node);
}
static inline void list_remove(struct list_node *node) {
    node->previous->next = node->next;
    node->next->previous = node->previous;
    list_init(node);
}
/* The first node, removed; NULL if the list is empty. */
static inline struct list_node *list_take_first(struct list_node *head) {
    if (list_is_empty(head)) {
        return NULL;
    }
    struct list_node *first = head->next;
    list_remove(first);
    return first;
}

#endif
