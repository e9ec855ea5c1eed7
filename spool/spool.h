/* SPDX-License-Identifier: ISC */
/*
 * The spool: the directory in which deliveries are stored; its format is
 * protocol-hook-spool(5).
 *
 *	spool = spool_new(cfg);
 *	for each group of requests:
 *		spool_refresh(spool, &failure);
 *		spool_stage(spool, &delivery, body, len, false);	each
 *		spool_commit(spool);
 *		now each delivery's state is final
 *		spool_tidy(spool, files, false);
 *
 * A delivery belongs to the caller and must stay in place until spool_commit()
 * has returned.  Only one spool of a process may have a group under way, since
 * record locks belong to the process.
 */
#ifndef SPOOL_H
#define SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "delivery.h"

struct config;
struct spool;

#define GROUP_MAX	64	/* deliveries that share their flushes */
#define SPOOL_BUSY_SECONDS	10	/* to wait for another process */

/* Allocates a spool, not yet open; NULL with errno.  CFG must outlive it. */
struct spool *spool_new(const struct config *);
void spool_free(struct spool *);
/*
 * Opens the spool and makes what is missing in it, or checks that what is open
 * is still what its path names and that others may not write to it.
 */
bool spool_refresh(struct spool *, struct failure *);
/*
 * Opens it for reading only: nothing is made, and nothing can be stored.  If a
 * directory in it is missing, the functions that read that one fail.
 */
bool spool_open_readonly(struct spool *, struct failure *);
/* Whether the spool's directory is open. */
bool spool_is_open(const struct spool *);
/* Its directory, for sandbox_enter() and fstat(2). */
int spool_fd(const struct spool *);
/*
 * Whether the spool's path names another directory than the one that was opened
 * first: a confined process can't open that.
 */
bool spool_replaced(const struct spool *);
/* Why nothing can be stored for now, such as a full disk; or NULL. */
const char *spool_refusal(const struct spool *);
/* Whether it is a file system of its own, so that syncfs(2) flushes no more. */
bool spool_has_own_fs(const struct spool *);
/*
 * The last day that something was archived on, if the clock is so far past it
 * that all of the archive would expire: it may be wrong.  Otherwise NULL.
 */
const char *spool_expiry_held(const struct spool *);

/*
 * Does what storing a delivery does, except for the flushes: makes a hidden
 * file in archive/, links it into new/, and removes both.
 */
bool spool_try_link(struct spool *, struct failure *);
/*
 * Recognises a duplicate, or writes BODY to a file hidden from readers and adds
 * DELIVERY, whose event the caller has set, to the group: DELIVERY_PENDING.
 * Any state but DELIVERY_STORED is possible.  With WAIT it waits up to
 * SPOOL_BUSY_SECONDS for a process that is storing the same bytes, and
 * DELIVERY_BUSY is not possible; that must not be done while a group is
 * pending.
 */
void spool_stage(struct spool *, struct delivery *, const uint8_t *body,
    size_t len, bool wait);
/*
 * Looks again at a delivery that was DELIVERY_BUSY: it becomes
 * DELIVERY_DUPLICATE if the other process has stored the bytes, DELIVERY_FAILED
 * if that has failed, and stays DELIVERY_BUSY while that is at it, but for the
 * LAST time.  Must not be called while a group is pending.
 */
void spool_retry(struct spool *, struct delivery *, bool last);
/*
 * Makes the group durable, then visible, and sets each delivery's state.  One
 * whose own file can't be flushed or linked is taken back and becomes
 * DELIVERY_FAILED; the others are stored.  If new/ or the file system can't be
 * flushed, the whole group fails.
 */
void spool_commit(struct spool *);
/*
 * Removes up to FILES expired files from the archive; or, if this process calls
 * it only ONCE, that many on average.
 */
void spool_tidy(struct spool *, size_t files, bool once);

#endif
