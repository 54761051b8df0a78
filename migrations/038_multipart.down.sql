drop table multipart_parts;
drop table multipart_uploads;
