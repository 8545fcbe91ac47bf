/*
 * usher_click_list.h - ids of clicks, as a cookie keeps them: oldest first,
 * with a point between.
 *
 * Which of them a conversion belongs to is for its program to say, the first
 * or the last of those that are its: the list keeps what either needs.  Of
 * each link the first click and the last are enough.  Where there is no room
 * the oldest but one goes, so that a first click stays.
 */


#ifndef USHER_CLICK_LIST_H
#define USHER_CLICK_LIST_H


#include "usher_click.h"


#define USHER_CLICK_LIST       8     /* ids, at most */
#define USHER_CLICK_LIST_TEXT  (USHER_CLICK_LIST * (USHER_CLICK_TEXT + 1) - 1)


typedef struct {
    size_t         n;
    usher_click_t  clicks[USHER_CLICK_LIST];    /* what the ids say */
    unsigned char  ids[USHER_CLICK_LIST][USHER_CLICK_TEXT];
} usher_click_list_t;


/*
 * Takes from len bytes of text the ids that one of nkeys keys has signed, each
 * once.  USHER_CLICK_OK if there is one; otherwise what is wrong with the last
 * that was given.  What is longer than a list is malformed, and nothing in it
 * is looked at.
 */
usher_click_status_e usher_click_list_read(usher_click_list_t *list,
    const unsigned char *text, size_t len, const usher_click_key_t *keys,
    size_t nkeys);

/*
 * Adds an id as the newest; click has its time and link.  Those that are more
 * than max_age seconds older go.
 */
void usher_click_list_add(usher_click_list_t *list,
    const unsigned char id[USHER_CLICK_TEXT], const usher_click_t *click,
    unsigned long max_age);

/* Writes it to p, at most USHER_CLICK_LIST_TEXT bytes; returns the end. */
unsigned char *usher_click_list_write(unsigned char *p,
    const usher_click_list_t *list);


#endif
