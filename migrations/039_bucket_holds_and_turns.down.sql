drop table bucket_turns;
drop table bucket_holds;
