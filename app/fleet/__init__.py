"""Many databases: every use case, called by all three faces, which show what they are given.

A noun of the faces is one file here, with its use cases; beside it stand its parts.

people      accounts tokens sessions passwords oidc invitations, what each may (actors), and what
            each did (audit)
projects    projects loading finding, their revisions with histories and risks, drifts with
            differences; a process of its own has their code (child, requests), behind isolation,
            remote and messages
databases   databases naming selectors listing; drafts addresses (url_options) registering
            importing creating; changing opening dropping
positions   refresh asking looks; standings overview charts measures tallies
rollouts    rollouts steering verbs; drafting previews starting waves gates windows born single;
            advance attempts undoing
watching    progress cells watching following
runs        runs exporting snapshots
workers     workers service chores pulse watchdog leases; work claims losses; a run is a task
            (tasks), performed (perform) by operations, with its records; distributed
webhooks    webhooks deliveries sending
the catalog transactions pages fields secrets sealed idempotency
"""
