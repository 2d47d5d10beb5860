-- Removes the seed's own rows, told by their fixed ids, and no others: places and flags that people added stay.
delete from locations
where id between '10ca0000-0000-4000-8000-000000000001' and '10ca0000-0000-4000-8000-000000000048';

delete from feature_flags
where id between 'f1a90000-0000-4000-8000-000000000001' and 'f1a90000-0000-4000-8000-000000000007';
