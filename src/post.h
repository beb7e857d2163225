/* What other threads hand to the loop's thread: one queue, one wake-up.
 *
 * The node lives in the thing that is handed over, so handing over cannot fail. The wake-up is
 * sent under the lock: once the loop has taken a node, the thread that brought it touches the
 * runtime no more, and the runtime may be freed by what the node does.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_POST_H
#define JR_POST_H

#include "list.h"
#include "rt.h"

typedef struct jr_post {
  jr_list link;
  /* On the loop's thread, outside Lua, once. The node is the callee's from here on. */
  void (*fn)(jobrun *rt, struct jr_post *post);
} jr_post;

/* Any thread. The node stays in place until its function was called. */
void jr_post_put(jobrun *rt, jr_post *post);

/* The same; JR_ECLOSED, with nothing handed over, once jr_posts_refuse was called. */
int jr_post_offer(jobrun *rt, jr_post *post);

/* Loop thread: no jr_post_offer is accepted from now on. */
void jr_posts_refuse(jobrun *rt);

/* Loop thread: calls what is there, in the order in which it came. */
void jr_posts_run(jobrun *rt);

#endif
