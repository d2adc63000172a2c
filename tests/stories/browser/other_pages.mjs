// The pages that the workflow does not come by, with something on them, at all widths.
import { assert, inbound, inspect, openPage, ready, rest, signIn, until, withBrowser, world } from "./support.mjs";

await withBrowser(async (browser) => {
    const domain = await rest("POST", "/api/v1/custom_domains", {
        domain: "a-rather-long-name-of-a-domain.with-several.labels.test",
    });
    await rest("POST", "/api/v1/custom_domains", { domain: "second.test" });
    await rest("POST", `/sandbox/domains/${domain.id}/publish`, {});
    await rest("POST", `/api/v1/custom_domains/${domain.id}/verify`, {});
    await until(
        "the check",
        async () => (await rest("GET", `/api/v1/custom_domains/${domain.id}`)).verified_status === "verified",
    );
    await rest("POST", `/api/v1/inboxes/${ready.inbox_id}/aliases`, {
        address: "help@a-rather-long-name-of-a-domain.with-several.labels.test",
    });
    await rest("POST", "/api/v1/access_entries", {
        direction: "receive",
        action: "block",
        pattern: "spam.example",
        inbox_id: ready.inbox_id,
    });
    const hook = await rest("POST", "/api/v1/webhook_subscriptions", {
        url: `${ready.http}/nowhere/with/a/rather/long/path/of/its/own`,
        events: ["email.received", "email.delivered"],
    });
    await rest("POST", "/sandbox/dns/faults", { name: "silent.test", fault: "servfail" });
    for (const to of ["x@silent.test", "y@outside.test", "bounce@simulator.test"]) {
        await rest("POST", "/api/v1/emails/send", { inbox_id: ready.inbox_id, to, subject: `To ${to}`, text_body: "Hello." });
    }
    for (let at = 0; at < 30; at += 1) {
        await inbound(
            `From: "A sender with a long name, number ${at}" <sender${at}@outside.test>\r\n` +
                `Subject: ${"A long subject ".repeat((at % 7) + 1)}\r\n\r\nYour code is ${482900 + at}.\r\n`,
        );
    }
    const emails = (await rest("GET", `/api/v1/emails?inbox=${ready.inbox_id}&label=inbox`)).data;
    const [mail, ofDomain] = [`/mail/${ready.inbox_id}`, `/domains/${domain.id}`];
    const wrong = [];
    const look = async (token, pages) => {
        const { page, watched } = await openPage(browser);
        await signIn(page, token);
        for (const [name, path] of Object.entries(pages)) {
            const response = await page.goto(path, { waitUntil: "load" });
            assert.equal(response.status(), 200, path);
            assert.equal(await page.locator("h1").count(), 1, path);
            wrong.push(...(await inspect(page, name)));
        }
        assert.deepEqual([watched.console, watched.dialogs, world.asked], [[], [], []]);
    };
    await Promise.all([
        look(ready.token, {
            domains: "/domains",
            "domain-checks": `${ofDomain}/checks`,
            "domain-events": `${ofDomain}/events`,
            "domain-keys": `${ofDomain}/keys`,
            "mail-many": mail,
            "email-text": `${mail}/${emails[0].id}`,
            "email-headers": `${mail}/${emails[0].id}?view=headers`,
            "email-source": `${mail}/${emails[0].id}?view=source`,
            inboxes: "/inboxes",
            inbox: `/inboxes/${ready.inbox_id}`,
            "inbox-delete": `/inboxes/${ready.inbox_id}/delete`,
            docs: "/docs",
            "docs-verification": "/docs/verification",
        }),
        look(ready.token, {
            internet: "/sandbox/internet",
            activity: "/activity",
            "activity-events": "/activity/events",
            "activity-queue": "/activity/queue",
            webhooks: "/activity/webhooks",
            webhook: `/activity/webhooks/${hook.id}`,
            "webhook-delete": `/activity/webhooks/${hook.id}/delete`,
            account: "/account",
            "account-tokens": "/account/tokens",
            "account-users": "/account/users",
        }),
        look(ready.operator_token, {
            operator: "/operator",
            "operator-account": `/operator/accounts/${ready.account_id}`,
            "operator-queue": "/operator/queue",
            "operator-health": "/operator/health",
            "operator-dkim": "/operator/dkim",
        }),
    ]);
    assert.equal(wrong.join("\n"), "");
});
