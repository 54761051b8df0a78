-- The rows of pins stay as they are: what waits goes on waiting.

drop table pin_jobs;
drop trigger pins_updated_at on pins;
create trigger pins_updated_at before update on pins for each row execute function update_updated_at_column();
drop index pins_unmeasured;
drop index pins_unkeyed;
drop index pins_cid_key;
alter table pins
  drop column measured_at,
  drop column cid_key;
