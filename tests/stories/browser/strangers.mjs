// A browser of another account sees nothing of the first: not by the addresses of its pages, nor by the forms on them.
import { assert, csrfOf, inbound, openPage, ready, rest, signIn, until, withBrowser } from "./support.mjs";

const SECRET = "Zanzibar";
/// Pages that are read, at most.
const MOST = 150;

/** What the first account has, with the word in all of it. */
async function first() {
    const domain = await rest("POST", "/api/v1/custom_domains", { domain: `${SECRET.toLowerCase()}.test` });
    const inbox = await rest("POST", "/api/v1/inboxes", { name: SECRET.toLowerCase() });
    await rest("POST", `/api/v1/inboxes/${inbox.id}/aliases`, { address: `alias@${domain.domain}` });
    await rest("POST", "/api/v1/access_entries", {
        direction: "receive",
        action: "block",
        pattern: `${SECRET.toLowerCase()}.example`,
        inbox_id: inbox.id,
    });
    await inbound(
        `From: ${SECRET} <ann@outside.test>\r\nSubject: ${SECRET} report\r\n\r\n${SECRET} is the word.\r\n`,
        inbox.email_address,
    );
    await rest("POST", "/api/v1/mailbox_labels", { name: `${SECRET} label` });
    await rest("POST", `/api/v1/inboxes/${inbox.id}/drafts`, {
        inbox_id: inbox.id,
        subject: `${SECRET} draft`,
        text_body: SECRET,
    });
    await rest("POST", "/api/v1/tokens", { name: `${SECRET} token` });
    await rest("POST", "/api/v1/webhook_subscriptions", {
        url: `https://hooks.${SECRET.toLowerCase()}.test/`,
        events: ["email.received"],
    });
    await rest("POST", "/sandbox/dns/faults", { name: "silent.test", fault: "servfail" });
    await rest("POST", "/api/v1/emails/send", {
        inbox_id: inbox.id,
        to: "x@silent.test",
        subject: `${SECRET} waits`,
        text_body: SECRET,
    });
    await until("the mail", async () => (await rest("GET", `/api/v1/emails?inbox=${inbox.id}`)).data.length >= 2);
    return { domain, inbox };
}

/** What forms could change, without what changes by itself. */
async function state(inbox) {
    const read = async (path) => {
        const answer = await rest("GET", path);
        return Array.isArray(answer) ? answer : answer.data;
    };
    const domains = (await read("/api/v1/custom_domains")).map(
        ({ id, return_path, is_default, on_unverified, catch_all_inbox_id }) => ({
            id,
            return_path,
            is_default,
            on_unverified,
            catch_all_inbox_id,
        }),
    );
    const ids = async (path) => (await read(path)).map((one) => one.id);
    const emails = (await read(`/api/v1/emails?inbox=${inbox.id}`)).map(({ id, labels, subject }) => ({ id, labels, subject }));
    const tokens = (await read("/api/v1/tokens")).map(({ id, revoked_at }) => ({ id, revoked_at }));
    const inboxes = (await read("/api/v1/inboxes")).map(({ id, is_disabled, save_sent, trash_days }) => ({
        id,
        is_disabled,
        save_sent,
        trash_days,
    }));
    const others = await Promise.all(
        [
            `/api/v1/inboxes/${inbox.id}/drafts`,
            "/api/v1/mailbox_labels",
            "/api/v1/webhook_subscriptions",
            "/api/v1/access_entries",
        ].map(ids),
    );
    return { domains, emails, tokens, inboxes, others };
}

/** Links and forms of a page. */
const found = (page, html) =>
    page.evaluate((html) => {
        const parsed = new DOMParser().parseFromString(html, "text/html");
        const links = [...parsed.querySelectorAll("a[href], iframe[src], [hx-get], [sse-connect]")].map(
            (one) =>
                one.getAttribute("href") ??
                one.getAttribute("src") ??
                one.getAttribute("hx-get") ??
                one.getAttribute("sse-connect"),
        );
        const forms = [...parsed.querySelectorAll("form[method=post]")].flatMap((form) => {
            const fields = [...new FormData(form)].filter(([, value]) => typeof value === "string");
            const buttons = [...form.querySelectorAll("button")];
            return (buttons.length ? buttons : [null]).map((button) => ({
                action: button?.getAttribute("formaction") ?? form.getAttribute("action"),
                isParts: form.enctype === "multipart/form-data",
                fields: [...fields, ...(button?.name ? [[button.name, button.value]] : [])],
            }));
        });
        return { links, forms };
    }, html);

/** Every page of the account, as its links lead on, and every form on them. */
async function walk(context, page) {
    const [todo, seen, forms, streams] = [["/domains", "/mail", "/inboxes", "/activity", "/account"], new Set(), new Map(), []];
    while (todo.length) {
        const path = todo.shift();
        // The guide is everybody's, and the sandbox's internet is the machine's.
        if (seen.has(path) || seen.size >= MOST || /^\/(docs|api\/docs|sandbox|sign|assets)/.test(path)) continue;
        seen.add(path);
        if (/\/(stream|live)(\?|$)/.test(path)) {
            streams.push(path);
            continue;
        }
        const response = await context.request.get(path);
        assert.ok(response.ok(), `${path}: ${response.status()}`);
        if (!response.headers()["content-type"].startsWith("text/html")) continue;
        const { links, forms: here } = await found(page, await response.text());
        for (const link of links) {
            const url = new URL(link, response.url());
            if (url.origin === ready.http) todo.push(url.pathname + url.search);
        }
        for (const form of here) forms.set(JSON.stringify([form.action, form.fields.filter(([name]) => name !== "csrf")]), form);
    }
    return {
        pages: [...seen].filter((path) => !streams.includes(path)),
        streams,
        forms: [...forms.values()].filter(({ action }) => !/^\/sign|^\/account\/password/.test(action)),
    };
}

await withBrowser(async (browser) => {
    const { domain, inbox } = await first();
    const operator = { token: ready.operator_token };
    const account = await rest("POST", "/api/v1/accounts", { name: "other" }, operator);
    const stranger = await rest("POST", "/api/v1/tokens", { name: "other", account_id: account.account_id }, operator);

    const mine = await openPage(browser);
    await signIn(mine.page, ready.token);
    const blank = await mine.context.newPage();
    const { pages, streams, forms } = await walk(mine.context, blank);
    for (const wanted of [`/domains/${domain.id}`, `/inboxes/${inbox.id}`, `/mail/${inbox.id}`, "/account/tokens"]) {
        assert.ok(pages.includes(wanted), `${wanted} is not among ${pages.join(" ")}`);
    }
    assert.ok(
        pages.length > 20 && forms.length > 20 && streams.length > 0,
        `${pages.length} pages, ${forms.length} forms, ${streams.length} streams`,
    );

    const theirs = await openPage(browser);
    await signIn(theirs.page, stranger.token);
    await theirs.page.goto("/domains");
    await theirs.page.getByText("No domain yet.").waitFor();
    const csrf = await csrfOf(theirs.page);
    // Ids in the address itself are not news.
    const isSecret = (text, path) =>
        new RegExp(`${SECRET}|${domain.id}|${inbox.id}|${ready.inbox_id}|${ready.inbox}`, "i").test(
            text.replaceAll(path, "").replaceAll(path.split("?")[0], ""),
        );
    let refused = 0;
    for (const path of pages) {
        const response = await theirs.context.request.get(path);
        refused += Number(response.status() === 404);
        const text = await response.text();
        assert.ok(
            response.status() === 404 || (response.status() === 200 && !isSecret(text, path)),
            `${path}: ${response.status()} ${text}`,
        );
        assert.ok(!new RegExp(SECRET, "i").test(text), `${path}: ${text}`);
    }
    assert.ok(refused > 10, `only ${refused} are refused`);
    for (const path of streams.filter((path) => /_/.test(path))) {
        assert.equal((await theirs.context.request.get(path)).status(), 404, path);
    }
    const before = await state(inbox);
    for (const { action, fields, isParts } of forms) {
        const form = { ...Object.fromEntries(fields), csrf };
        const body = isParts ? { multipart: form } : { form };
        const response = await theirs.context.request.post(action, {
            ...body,
            maxRedirects: 0,
            headers: { "sec-fetch-site": "same-origin" },
        });
        assert.ok(response.status() < 500, `${action}: ${response.status()}`);
        assert.ok(!new RegExp(`${SECRET} (report|draft|waits|is)`, "i").test(await response.text()), `${action} shows it`);
    }
    assert.deepEqual(await state(inbox), before);
    // The same forms are not refused for another reason: the first account's own is done.
    await mine.page.goto(`/inboxes/${inbox.id}`);
    const own = await mine.context.request.post(`/domains/${domain.id}/verify`, {
        form: { csrf: await csrfOf(mine.page) },
        maxRedirects: 0,
        headers: { "sec-fetch-site": "same-origin" },
    });
    assert.equal(own.status(), 303);
});
