-- What the pinset is still to be made agree with would be forgotten: contents that nobody wants would stay pinned.

lock table pin_jobs in share row exclusive mode;

select 'pin_jobs: contents whose pin is still to be made or taken away' as what, count(*) as rows from pin_jobs;
