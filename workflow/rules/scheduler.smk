# Snakemake looks at its jobs when one of them ends. Its rate limit, by default 100 jobs a second, makes every look ask for another one a second
# later, and so does that one: after n jobs it looks n times a second, and in a study of hundreds of jobs takes a core for itself. Here only a look
# that the limit has stopped from starting a job asks for another one. A private method of Snakemake: pinned in requirements.lock, and tested.
from snakemake.scheduling.job_scheduler import JobScheduler

look_again = JobScheduler._schedule_reevalutation


def look_again_where_the_limit_holds(scheduler, delay):
    """In the place of the scheduler's own method: `delay` seconds later it looks at its jobs once more, if the limit stops it now."""
    limit = scheduler.job_rate_limiter
    if limit is None or not limit.get_free_jobs():
        look_again(scheduler, delay)


JobScheduler._schedule_reevalutation = look_again_where_the_limit_holds
