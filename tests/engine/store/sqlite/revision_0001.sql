-- A store that the first version made, of revision 0001: a run of two models of which one failed, one that took an answer over, and
-- one that was paused before it began.
PRAGMA application_id = 1314084688;
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE answer (
	job_id INTEGER NOT NULL, 
	raw BLOB NOT NULL, 
	CONSTRAINT pk_answer PRIMARY KEY (job_id), 
	CONSTRAINT fk_answer_job_id FOREIGN KEY(job_id) REFERENCES job (id)
);
INSERT INTO "answer" VALUES(1,X'7801ABAE0500017500F9');
INSERT INTO "answer" VALUES(2,X'7801ABAE0500017500F9');
CREATE TABLE attempt (
	job_id INTEGER NOT NULL, 
	fence INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	worker TEXT NOT NULL, 
	sent_at FLOAT NOT NULL, 
	ended_at FLOAT, 
	outcome TEXT NOT NULL, 
	status INTEGER, 
	error TEXT, 
	detail TEXT, 
	CONSTRAINT pk_attempt PRIMARY KEY (job_id, fence), 
	CONSTRAINT ck_attempt_ended CHECK ((outcome = 'sent') = (ended_at IS NULL)), 
	CONSTRAINT ck_attempt_outcome CHECK (outcome IN ('sent', 'succeeded', 'failed', 'rate_limited', 'refused', 'timed_out', 'interrupted', 'lost')), 
	CONSTRAINT fk_attempt_job_id FOREIGN KEY(job_id) REFERENCES job (id), 
	CONSTRAINT fk_attempt_run_id FOREIGN KEY(run_id) REFERENCES run (id)
)
 WITHOUT ROWID

;
INSERT INTO "attempt" VALUES(1,1,1,'e6729126-5e6c-42dc-9402-9ab4940870ba',1800000000.0,1800000000.0,'succeeded',NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(2,1,1,'e6729126-5e6c-42dc-9402-9ab4940870ba',1800000000.0,1800000000.0,'succeeded',NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(3,1,1,'e6729126-5e6c-42dc-9402-9ab4940870ba',1800000000.0,1800000000.0,'failed',NULL,'no such model: Unknown model: failing','Unknown model: failing');
INSERT INTO "attempt" VALUES(4,1,1,'e6729126-5e6c-42dc-9402-9ab4940870ba',1800000000.0,1800000000.0,'failed',NULL,'no such model: Unknown model: failing','Unknown model: failing');
CREATE TABLE call (
	run_id INTEGER NOT NULL, 
	digest BLOB NOT NULL, 
	response BLOB NOT NULL, 
	recorded_at FLOAT NOT NULL, 
	CONSTRAINT pk_call PRIMARY KEY (run_id, digest), 
	CONSTRAINT fk_call_run_id FOREIGN KEY(run_id) REFERENCES run (id)
)
 WITHOUT ROWID

;
CREATE TABLE cost (
	service TEXT NOT NULL, 
	cost_class TEXT NOT NULL, 
	tests INTEGER NOT NULL, 
	CONSTRAINT pk_cost PRIMARY KEY (service, cost_class)
);
INSERT INTO "cost" VALUES('scripted scripted system_prompt','any',4);
CREATE TABLE document (
	digest TEXT NOT NULL, 
	content TEXT NOT NULL, 
	CONSTRAINT pk_document PRIMARY KEY (digest)
)
 WITHOUT ROWID

;
CREATE TABLE event (
	id INTEGER NOT NULL, 
	run_id INTEGER, 
	at FLOAT NOT NULL, 
	kind TEXT NOT NULL, 
	lane TEXT, 
	message TEXT NOT NULL, 
	CONSTRAINT pk_event PRIMARY KEY (id), 
	CONSTRAINT fk_event_run_id FOREIGN KEY(run_id) REFERENCES run (id)
);
CREATE TABLE job (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	"key" BLOB NOT NULL, 
	family BLOB, 
	generation INTEGER NOT NULL, 
	lane TEXT NOT NULL, 
	cost_class TEXT NOT NULL, 
	expected_tests INTEGER, 
	labels TEXT NOT NULL, 
	documents TEXT NOT NULL, 
	repeat INTEGER NOT NULL, 
	threshold FLOAT, 
	cells TEXT NOT NULL, 
	cell_count INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	owner TEXT, 
	fence INTEGER DEFAULT '0' NOT NULL, 
	attempts INTEGER DEFAULT '0' NOT NULL, 
	due_at FLOAT DEFAULT '0' NOT NULL, 
	error TEXT, 
	detail TEXT, 
	CONSTRAINT pk_job PRIMARY KEY (id), 
	CONSTRAINT ck_job_owner CHECK ((state = 'running') = (owner IS NOT NULL)), 
	CONSTRAINT ck_job_state CHECK (state IN ('pending', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')), 
	CONSTRAINT ck_job_attempts CHECK (attempts >= 0 AND fence >= attempts), 
	CONSTRAINT fk_job_owner FOREIGN KEY(owner) REFERENCES worker (id), 
	CONSTRAINT fk_job_run_id FOREIGN KEY(run_id) REFERENCES run (id), 
	CONSTRAINT uq_job_key UNIQUE ("key", run_id)
);
INSERT INTO "job" VALUES(1,1,X'A01A586029A2646EA469CFF304DE32D7E7C58D9258C1FC3C3902DB7E34761CE1',X'5045F2F25E8369D9AAF68150A85285381E9354B3A7C1A11BC80E3E524BDCCD78',1,'a','any',NULL,'{"model": "a", "group": "any", "threshold": 0.5, "variations": 1, "repeat": 1}','{}',1,0.5,'[0.3, 0.5]',2,'succeeded',NULL,1,1,0.0,NULL,NULL);
INSERT INTO "job" VALUES(2,1,X'9461E18B605796BCBB9CE50E45FC27B8D866FCA2DC083165E77C5925CB2A3076',X'A17CAA12BD87D3A61FF33A713D05A7ACC28DF318E652C66AC2E644A18A4787C3',1,'a','any',NULL,'{"model": "a", "group": "any", "threshold": 0.5, "variations": 1, "repeat": 2}','{}',2,0.5,'[0.3, 0.5]',2,'succeeded',NULL,1,1,0.0,NULL,NULL);
INSERT INTO "job" VALUES(3,1,X'53A931B45FDAE293091A8DB0821A48D53C537622060AD86DD76DBBF76A685ACA',X'590F3E2ACDB4712387A3053B550976FB9F5F937FC549FCB93C26E8779731BAAB',1,'failing','any',NULL,'{"model": "failing", "group": "any", "threshold": 0.5, "variations": 1, "repeat": 1}','{}',1,0.5,'[0.3, 0.5]',2,'failed',NULL,1,1,0.0,'no such model: Unknown model: failing','Unknown model: failing');
INSERT INTO "job" VALUES(4,1,X'6B39CB17AE252D53FEDBD04CC8B0526E9C1BC3537FDAC5DCC85F137859E59420',X'9A08B0E441FE1A17DA536962043A5C1E09B415827DD64595D5A46A0E5DA99907',1,'failing','any',NULL,'{"model": "failing", "group": "any", "threshold": 0.5, "variations": 1, "repeat": 2}','{}',2,0.5,'[0.3, 0.5]',2,'failed',NULL,1,1,0.0,'no such model: Unknown model: failing','Unknown model: failing');
INSERT INTO "job" VALUES(5,2,X'A01A586029A2646EA469CFF304DE32D7E7C58D9258C1FC3C3902DB7E34761CE1',X'5045F2F25E8369D9AAF68150A85285381E9354B3A7C1A11BC80E3E524BDCCD78',1,'a','any',NULL,'{"model": "a", "group": "any", "threshold": 0.5, "variations": 1, "repeat": 1}','{}',1,0.5,'[0.5]',1,'succeeded',NULL,0,0,0.0,NULL,NULL);
CREATE TABLE quota (
	name TEXT NOT NULL, 
	period TEXT NOT NULL, 
	allotted INTEGER NOT NULL, 
	used INTEGER NOT NULL, 
	reserved INTEGER NOT NULL, 
	overrun INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_quota PRIMARY KEY (name, period), 
	CONSTRAINT ck_quota_kept CHECK (used + reserved <= allotted), 
	CONSTRAINT ck_quota_positive CHECK (used >= 0 AND reserved >= 0 AND overrun >= 0)
);
CREATE TABLE rate_bucket (
	name TEXT NOT NULL, 
	log TEXT DEFAULT '[]' NOT NULL, 
	blocked_until FLOAT DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_rate_bucket PRIMARY KEY (name)
);
CREATE TABLE reservation (
	job_id INTEGER NOT NULL, 
	fence INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	period TEXT NOT NULL, 
	run_id INTEGER NOT NULL, 
	worker TEXT NOT NULL, 
	probe_of TEXT, 
	counts_requests BOOLEAN NOT NULL, 
	held INTEGER NOT NULL, 
	CONSTRAINT pk_reservation PRIMARY KEY (job_id, fence, name), 
	CONSTRAINT fk_reservation_job_id FOREIGN KEY(job_id) REFERENCES job (id), 
	CONSTRAINT fk_reservation_quota FOREIGN KEY(name, period) REFERENCES quota (name, period), 
	CONSTRAINT fk_reservation_run_id FOREIGN KEY(run_id) REFERENCES run (id)
)
 WITHOUT ROWID

;
CREATE TABLE result (
	job_id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	passed INTEGER NOT NULL, 
	failed INTEGER NOT NULL, 
	tests INTEGER NOT NULL, 
	scores TEXT, 
	note TEXT, 
	reused_from INTEGER, 
	recorded_at FLOAT NOT NULL, 
	CONSTRAINT pk_result PRIMARY KEY (job_id), 
	CONSTRAINT fk_result_job_id FOREIGN KEY(job_id) REFERENCES job (id), 
	CONSTRAINT fk_result_reused_from FOREIGN KEY(reused_from) REFERENCES job (id), 
	CONSTRAINT fk_result_run_id FOREIGN KEY(run_id) REFERENCES run (id)
);
INSERT INTO "result" VALUES(1,1,2,2,4,'[0.2, 0.4, 0.6, 0.9]',NULL,NULL,1800000000.0);
INSERT INTO "result" VALUES(2,1,2,2,4,'[0.2, 0.4, 0.6, 0.9]',NULL,NULL,1800000000.0);
INSERT INTO "result" VALUES(5,2,2,2,4,'[0.2, 0.4, 0.6, 0.9]',NULL,1,1800000000.0);
CREATE TABLE run (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	service TEXT NOT NULL, 
	evaluation TEXT NOT NULL, 
	target TEXT NOT NULL, 
	identity TEXT NOT NULL, 
	sweep TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	expanded TEXT, 
	generation INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	reason TEXT, 
	message TEXT DEFAULT '' NOT NULL, 
	resume_at FLOAT, 
	created_at FLOAT NOT NULL, 
	updated_at FLOAT NOT NULL, 
	CONSTRAINT pk_run PRIMARY KEY (id), 
	CONSTRAINT ck_run_state CHECK (state IN ('active', 'paused', 'cancelled', 'finished')), 
	CONSTRAINT uq_run_name UNIQUE (name)
);
INSERT INTO "run" VALUES(1,'night','scripted','scripted','system_prompt','scripted','{"sweep": {"format": 1, "name": "night", "service": {"kind": "scripted"}, "health": null, "evaluation": "scripted", "target": "system_prompt", "matrix": {"models": ["a", "failing"], "groups": ["any"], "thresholds": [0.3, 0.5], "variations": [1]}, "repeats": 2, "include": [], "exclude": [], "limits": {"rate_per_min": null, "max_in_flight": 16, "models": [], "quota_tests": null, "requests": null, "window": null, "deadline": null}, "retry": {"attempts": 6, "base_delay_s": 1.0, "max_delay_s": 300.0}, "fold": "exact", "reuse": true}, "pinned_groups": null}','c72282d3bbad9658e97aa8498c60bc05a1906f5d5446a9d80dc428d18d0ec4e0','c72282d3bbad9658e97aa8498c60bc05a1906f5d5446a9d80dc428d18d0ec4e0',1,'finished',NULL,'',NULL,1800000000.0,1800000000.0);
INSERT INTO "run" VALUES(2,'reusing','scripted','scripted','system_prompt','scripted','{"sweep": {"format": 1, "name": "reusing", "service": {"kind": "scripted"}, "health": null, "evaluation": "scripted", "target": "system_prompt", "matrix": {"models": ["a"], "groups": ["any"], "thresholds": [0.5], "variations": [1]}, "repeats": 1, "include": [], "exclude": [], "limits": {"rate_per_min": null, "max_in_flight": 16, "models": [], "quota_tests": null, "requests": null, "window": null, "deadline": null}, "retry": {"attempts": 6, "base_delay_s": 1.0, "max_delay_s": 300.0}, "fold": "exact", "reuse": true}, "pinned_groups": null}','36bd75d1387704abd242f03655e17c999eec55a7d28420fc9706cb389613995a','36bd75d1387704abd242f03655e17c999eec55a7d28420fc9706cb389613995a',1,'finished',NULL,'',NULL,1800000000.0,1800000000.0);
INSERT INTO "run" VALUES(3,'paused','scripted','scripted','system_prompt','scripted','{"sweep": {"format": 1, "name": "paused", "service": {"kind": "scripted"}, "health": null, "evaluation": "scripted", "target": "system_prompt", "matrix": {"models": ["a", "b"], "groups": ["any"], "thresholds": [0.5], "variations": [1]}, "repeats": 1, "include": [], "exclude": [], "limits": {"rate_per_min": null, "max_in_flight": 16, "models": [], "quota_tests": null, "requests": null, "window": null, "deadline": null}, "retry": {"attempts": 6, "base_delay_s": 1.0, "max_delay_s": 300.0}, "fold": "exact", "reuse": true}, "pinned_groups": null}','bd396fbc37df5f0b44050ab1ba347a3bb92cf9b169e34017139ae92cc042a8ab',NULL,1,'paused','paused','paused; `nightsweep resume` goes on',NULL,1800000000.0,1800000000.0);
CREATE TABLE worker (
	id TEXT NOT NULL, 
	host TEXT NOT NULL, 
	pid INTEGER NOT NULL, 
	started_at FLOAT NOT NULL, 
	heartbeat_at FLOAT NOT NULL, 
	ended_at FLOAT, 
	CONSTRAINT pk_worker PRIMARY KEY (id)
);
INSERT INTO "worker" VALUES('e6729126-5e6c-42dc-9402-9ab4940870ba','vm',20987,1800000000.0,1800000000.0,1800000000.0);
CREATE INDEX ix_event_run ON event (run_id, id);
CREATE INDEX ix_job_claimable ON job (run_id, lane, cost_class, due_at, id) WHERE state IN ('pending', 'waiting');
CREATE INDEX ix_job_family ON job (run_id, family) WHERE family IS NOT NULL;
CREATE INDEX ix_job_running ON job (owner, run_id) WHERE state = 'running';
CREATE INDEX ix_job_state ON job (run_id, state, lane, cell_count);
CREATE INDEX ix_attempt_sent ON attempt (run_id, sent_at);
CREATE INDEX ix_result_totals ON result (run_id, passed, failed, tests);
COMMIT;
