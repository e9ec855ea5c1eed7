-- The table that load fills: psql -f schema.sql DATABASE
create table if not exists webhook (
	digest bytea primary key,	-- SHA-256 of body: tells a repeat
	received timestamptz not null,
	type text,			-- its first 200 characters: an index
					-- takes no more than 2704 bytes
	id text,
	event jsonb,			-- null if jsonb can't hold it
	body bytea not null		-- as it was signed
);

create index if not exists webhook_type on webhook (type, received);

-- JSON that jsonb refuses, and RFC 8259 allows: \u0000, half a surrogate pair,
-- a number beyond numeric's range.  The body is kept then all the same.
create or replace function webhook_event(body bytea) returns jsonb
language plpgsql immutable as $$
begin
	return convert_from(body, 'UTF8')::jsonb;
exception when data_exception or program_limit_exceeded then
	return null;
end $$;
