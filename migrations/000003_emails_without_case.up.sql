-- Two accounts whose addresses differ in upper and lower case only are one person's: mail goes to the same place. Built
-- without locking anybody out; duplicates make it fail, and then they have to be merged first.
create unique index concurrently users_email_lower_idx on users (lower(email));
