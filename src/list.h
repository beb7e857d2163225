/* Intrusive doubly linked list: the node lives inside the thing it links.
 *
 * A list is a circle through its head, so neither insertion nor removal has a special case and
 * a node can leave without knowing which list it is in. A node that is in no list points at
 * itself, so removing it twice does no harm.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LIST_H
#define JR_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct jr_list {
  struct jr_list *prev, *next;
} jr_list;

#define jr_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Walk a list; in JR_LIST_EACH_SAFE the current node may be removed and freed. */
#define JR_LIST_EACH(it, head) for (jr_list *it = (head)->next; it != (head); it = it->next)
#define JR_LIST_EACH_SAFE(it, head)                                                                \
  for (jr_list *it = (head)->next, *it##_next = it->next; it != (head);                            \
       it = it##_next, it##_next = it->next)

static inline void jr_list_init(jr_list *head) {
  head->prev = head->next = head;
}

static inline bool jr_list_is_empty(const jr_list *head) {
  return head->next == head;
}

static inline void jr_list_append(jr_list *head, jr_list *node) {
  node->prev = head->prev;
  node->next = head;
  head->prev->next = node;
  head->prev = node;
}

static inline void jr_list_remove(jr_list *node) {
  node->prev->next = node->next;
  node->next->prev = node->prev;
  jr_list_init(node);
}

/* A chain: like a list, but its head is one pointer and it grows at the front. For heads that are
 * many and mostly empty. A link of zeros is in no chain. */
typedef struct jr_link {
  struct jr_link *next, **from;
} jr_link;

typedef struct jr_chain {
  jr_link *first;
} jr_chain;

static inline bool jr_chain_is_empty(const jr_chain *chain) {
  return !chain->first;
}

static inline void jr_chain_push(jr_chain *chain, jr_link *link) {
  link->next = chain->first;
  link->from = &chain->first;
  if (chain->first) chain->first->from = &link->next;
  chain->first = link;
}

static inline void jr_chain_remove(jr_link *link) {
  if (!link->from) return;
  *link->from = link->next;
  if (link->next) link->next->from = link->from;
  *link = (jr_link){0};
}

#endif
