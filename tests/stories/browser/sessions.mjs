// Who may send a form, and how a session ends.
import {
    assert,
    csrfOf,
    inbound,
    openPage,
    post,
    ready,
    rest,
    signIn,
    signInByPassword,
    until,
    withBrowser,
    world,
} from "./support.mjs";

/** What forms could change. */
async function state() {
    const names = async (path, ...fields) => {
        const answer = await rest("GET", path);
        return (Array.isArray(answer) ? answer : answer.data).map((one) => fields.map((field) => one[field]));
    };
    return {
        domains: await names("/api/v1/custom_domains", "id", "is_default", "return_path"),
        inboxes: await names("/api/v1/inboxes", "id", "is_disabled", "default_domain_id"),
        emails: await names(`/api/v1/emails?inbox=${ready.inbox_id}`, "id", "labels"),
        tokens: await names("/api/v1/tokens", "id", "revoked_at"),
        webhooks: await names("/api/v1/webhook_subscriptions", "id", "url"),
        records: await names("/sandbox/dns/records", "name", "values"),
        left: await names("/sandbox/mail", "id"),
    };
}

async function foreignForms(browser) {
    await inbound("From: ann@outside.test\r\nSubject: kept\r\n\r\nKept.\r\n");
    const email = await until("the email", async () => (await rest("GET", `/api/v1/emails?inbox=${ready.inbox_id}`)).data[0]);
    const domain = await rest("POST", "/api/v1/custom_domains", { domain: "kept.test" });
    const token = await rest("POST", "/api/v1/tokens", { name: "kept" });
    const mine = await openPage(browser);
    await signInByPassword(mine.page);
    const other = await openPage(browser);
    await signIn(other.page, ready.token);
    const [csrf, csrfOfOther] = [await csrfOf(mine.page), await csrfOf(other.page)];
    assert.notEqual(csrf, csrfOfOther);
    const mail = `/mail/${ready.inbox_id}`;
    const forms = [
        ["/domains", { domain: "forged.test" }],
        [`/domains/${domain.id}/verify`, {}],
        [`/domains/${domain.id}/settings`, { on_unverified: "reject", return_path: "forged" }],
        [`/domains/${domain.id}/delete`, { confirm: "kept.test" }],
        ["/inboxes", { name: "forged" }],
        [`/inboxes/${ready.inbox_id}/disabled`, { disabled: "1" }],
        [`/inboxes/${ready.inbox_id}/delete`, { name: "demo" }],
        [`${mail}/actions`, { do: "delete", email: email.id }],
        [`${mail}/send`, { from: ready.inbox, to: "x@outside.test", subject: "forged", text_body: "forged" }],
        [`${mail}/drafts`, { from: ready.inbox, to: "x@outside.test", subject: "forged", text_body: "forged" }],
        [`${mail}/${email.id}/answer`, { kind: "reply" }],
        ["/account/tokens", { name: "forged", permission: "messages:read" }],
        [`/account/tokens/${token.id}/revoke`, {}],
        [
            "/account/password",
            { current_password: ready.password, password: "forged-forged", password_confirmation: "forged-forged" },
        ],
        ["/sandbox/internet/records", { name: "forged.test", type: "TXT", values: "forged" }],
        ["/sign-out", {}],
        ["/sign-out/everywhere", {}],
    ];
    const before = await state();
    for (const [path, fields] of forms) {
        // Two pages read files, which come as parts.
        const isParts = path.endsWith("/send") || path.endsWith("/drafts");
        const send = async (form, headers) => {
            const body = isParts ? { multipart: form } : { form };
            const response = await mine.context.request.post(path, { ...body, maxRedirects: 0, headers });
            return response.status();
        };
        const here = { "sec-fetch-site": "same-origin", origin: ready.http };
        const outcomes = {
            "without a token": await send(fields, here),
            "with an empty token": await send({ csrf: "", ...fields }, here),
            "with the token of another session": await send({ csrf: csrfOfOther, ...fields }, here),
            "from another site": await send({ csrf, ...fields }, { "sec-fetch-site": "cross-site", origin: "http://evil.test" }),
            "from another host of the site": await send({ csrf, ...fields }, { "sec-fetch-site": "same-site" }),
            "from another origin, by an old browser": await send({ csrf, ...fields }, { origin: "http://evil.test" }),
            "from nowhere": await send({ csrf, ...fields }, {}),
        };
        for (const [how, status] of Object.entries(outcomes)) assert.equal(status, 403, `${path} ${how}`);
    }
    assert.deepEqual(await state(), before);
    await mine.page.goto("/account");
    assert.equal(new URL(mine.page.url()).pathname, "/account", "the session goes on");

    // The same with the session's own token.
    const done = await post(mine.context, "/domains", { csrf, domain: "own.test" });
    assert.equal(done.status, 303, done.text);
    assert.equal((await state()).domains.length, before.domains.length + 1);

    // A page of another site that sends a form as soon as it is opened.
    const between = await state();
    world.pages.set("http://evil.test/form", [
        "text/html",
        `<form method="post" action="${ready.http}/domains">
        <input name="domain" value="forged.test"><input name="csrf" value="${csrf}"></form>
        <script>document.forms[0].submit()</script>`,
    ]);
    const refused = mine.page.waitForResponse(
        (response) => response.url() === `${ready.http}/domains` && response.request().method() === "POST",
    );
    await mine.page.goto("http://evil.test/form").catch(() => null);
    const response = await refused;
    assert.ok([303, 403].includes(response.status()), String(response.status()));
    assert.equal((await response.request().allHeaders()).cookie, undefined, "no cookie is sent with it");
    assert.deepEqual(await state(), between);
    // Nor does a frame of another site show a page.
    world.pages.set("http://evil.test/frame", ["text/html", `<iframe src="${ready.http}/sign-in"></iframe>`]);
    await mine.page.goto("http://evil.test/frame");
    await until("the frame", () => mine.page.frames().length === 2);
    await mine.page.waitForLoadState("networkidle");
    assert.equal(await mine.page.frames()[1].locator("h1").filter({ hasText: "Sign in" }).count(), 0, "a page is framed");
    await mine.context.close();
    await other.context.close();
}

/** Whether the session of the context's cookies has ended: every page leads to the sign-in page. */
async function hasEnded(context) {
    for (const path of ["/domains", "/account", `/mail/${ready.inbox_id}`]) {
        const response = await context.request.get(path, { maxRedirects: 0 });
        if (response.status() !== 303 || !response.headers().location.startsWith("/sign-in")) return false;
    }
    return true;
}

async function ends(browser) {
    // Signing out.
    const { context, page } = await openPage(browser);
    await signInByPassword(page);
    await page.goto("/account");
    const kept = await context.cookies();
    assert.equal(kept.length, 1);
    assert.ok(kept[0].httpOnly && kept[0].sameSite === "Lax", JSON.stringify(kept));
    await page.getByRole("button", { name: "Sign out", exact: true }).click();
    await page.getByRole("heading", { name: "Sign in", level: 1 }).waitFor();
    assert.equal((await context.cookies()).length, 0);
    await page.goBack();
    await page.getByRole("heading", { name: "Sign in", level: 1 }).waitFor();
    assert.equal(await page.getByText(ready.user).count(), 0, "nothing is shown from the history");
    await context.addCookies(kept);
    assert.ok(await hasEnded(context), "a cookie that was copied before has ended, too");

    // A token that is revoked.
    const token = await rest("POST", "/api/v1/tokens", { name: "short" });
    const short = await openPage(browser);
    await signIn(short.page, token.token);
    await short.page.goto(`/mail/${ready.inbox_id}`);
    await rest("DELETE", `/api/v1/tokens/${token.id}`);
    assert.ok(await hasEnded(short.context));
    await short.page.getByLabel("Search this inbox").fill("x");
    await short.page.waitForURL((url) => url.pathname === "/sign-in");
    await short.page.getByLabel("Email").fill(ready.user);
    await short.page.getByLabel("Password").fill(ready.password);
    await short.page.getByRole("button", { name: "Sign in", exact: true }).click();
    await short.page.getByRole("button", { name: "Sign out" }).waitFor();
    await short.context.close();

    // Everywhere.
    const here = await openPage(browser);
    const there = await openPage(browser);
    await signInByPassword(here.page);
    await signInByPassword(there.page);
    assert.ok(!(await hasEnded(here.context)) && !(await hasEnded(there.context)));
    await here.page.goto("/account");
    await here.page.getByRole("button", { name: "Sign out everywhere" }).click();
    await here.page.getByRole("heading", { name: "Sign in", level: 1 }).waitFor();
    assert.ok(await hasEnded(there.context));
    await there.page.goto("/account");
    assert.equal(new URL(there.page.url()).pathname, "/sign-in");
    assert.ok(await rest("GET", "/api/v1/custom_domains"), "API tokens stay valid");

    // A link that signs in once.
    const once = await openPage(browser);
    await once.page.goto(ready.sign_in);
    await once.page.getByRole("button", { name: "Sign out" }).waitFor();
    const again = await openPage(browser);
    await again.page.goto(ready.sign_in);
    await again.page.getByText("This link has been used").waitFor();
    assert.equal((await again.context.cookies()).length, 0);
    assert.ok(await hasEnded(again.context));
}

await withBrowser(async (browser) => {
    await foreignForms(browser);
    await ends(browser);
});
