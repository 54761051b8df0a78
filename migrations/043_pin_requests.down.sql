drop function pin_meta(text);
drop index pins_by_created;
