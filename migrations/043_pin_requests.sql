-- What the pinning service's lists go by.

-- A user's requests, newest first: how lists are paged.
create index pins_by_created on pins (user_id, created_at desc) where status <> 'deleted';

-- What was asked to be kept with a pin, of whatever software wrote it: null where the text is no JSON.
create function pin_meta(meta text) returns jsonb
language plpgsql immutable
as $$
begin
  return meta::jsonb;
exception when others then
  return null;
end
$$;
