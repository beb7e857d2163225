/* What other threads hand to the loop's thread.
 *
 * SPDX-License-Identifier: MIT */
#include "post.h"

#include <uv.h>

#include "status.h"

/* Locked. */
static void append(jobrun *rt, jr_post *post) {
  jr_list_append(&rt->posts, &post->link);
  uv_async_send(&rt->post);
}

void jr_post_put(jobrun *rt, jr_post *post) {
  uv_mutex_lock(&rt->post_lock);
  append(rt, post);
  uv_mutex_unlock(&rt->post_lock);
}

int jr_post_offer(jobrun *rt, jr_post *post) {
  uv_mutex_lock(&rt->post_lock);
  int status = rt->refuses_posts ? JR_ECLOSED : 0;
  if (status == 0) append(rt, post);
  uv_mutex_unlock(&rt->post_lock);
  return status;
}

void jr_posts_refuse(jobrun *rt) {
  uv_mutex_lock(&rt->post_lock);
  rt->refuses_posts = true;
  uv_mutex_unlock(&rt->post_lock);
}

/* All at once, so that one that posts itself again waits for the next turn. */
static void take_all(jobrun *rt, jr_list *into) {
  jr_list_init(into);
  uv_mutex_lock(&rt->post_lock);
  if (!jr_list_is_empty(&rt->posts)) {
    *into = rt->posts;
    into->next->prev = into->prev->next = into;
    jr_list_init(&rt->posts);
  }
  uv_mutex_unlock(&rt->post_lock);
}

void jr_posts_run(jobrun *rt) {
  jr_list posts;
  take_all(rt, &posts);
  JR_LIST_EACH_SAFE (it, &posts) {
    jr_post *post = jr_container_of(it, jr_post, link);
    jr_list_remove(it);
    post->fn(rt, post);
  }
}
