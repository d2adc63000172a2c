// The documented work of an owner, by clicks and keys: a domain is created, published, verified; mail is sent before and after,
// received, answered, deleted; then the domain is. The pages on the way are inspected.
import { assert, inbound, inspect, openPage, outside, ready, rest, until, withBrowser, world } from "./support.mjs";

const DOMAIN = "acme.test";
const FRIEND = "ann@outside.test";

await withBrowser(async (browser) => {
    const { context, page, watched } = await openPage(browser, { permissions: ["clipboard-read", "clipboard-write"] });
    const wrong = [];
    const look = async (name) => wrong.push(...(await inspect(page, name)));
    const heading = (name) => page.getByRole("heading", { name, level: 1 }).waitFor();
    const go = (name) => page.getByRole("navigation", { name: "Main" }).getByRole("link", { name, exact: true }).click();
    const press = (name) => page.getByRole("button", { name, exact: true }).click();
    const says = (text) => page.locator("#notices").getByText(text).waitFor();

    await page.goto("/");
    await heading("Sign in");
    await look("sign-in");
    await page.goto(ready.sign_in);
    await heading("Domains");
    await page.getByText("No domain yet.").waitFor();
    await look("domains-none");

    // The domain is created, by keys alone.
    await page.getByLabel("Domain").focus();
    await page.keyboard.type(DOMAIN);
    await page.keyboard.press("Enter");
    await heading(DOMAIN);
    await says("Created.");
    const ofDomain = new URL(page.url()).pathname;
    const id = ofDomain.split("/").at(-1);
    const badge = page.locator("#badge");
    await page.locator("#badge").getByText("pending").waitFor();
    await look("domain-pending");

    // Each record is copied by its buttons.
    const { records } = await rest("GET", `/api/v1/custom_domains/${id}`);
    const copied = new Set();
    const buttons = await page.locator(".records .copy").all();
    for (const button of buttons) {
        await page.evaluate(() => navigator.clipboard.writeText(""));
        await button.click();
        const text = await until("the clipboard", () => page.evaluate(() => navigator.clipboard.readText()));
        assert.equal(await button.innerText(), "Copied");
        const said = (await button.getAttribute("aria-label")).replace("Copy", "Copied");
        assert.equal(await page.locator("#said").textContent(), said, "it is announced");
        copied.add(text);
    }
    const dotless = (text) => text.replace(/\.$/, "");
    for (const { name, value, type } of records) {
        const has = (text) => [...copied].some((one) => dotless(one).replace(/^"|"$/g, "") === dotless(text));
        assert.ok(has(value), `${type} ${value} is not among ${[...copied]}`);
        assert.ok(has(name) || has(name.slice(0, -DOMAIN.length - 1)), `${type} ${name} is not among ${[...copied]}`);
    }

    // Before it is verified, mail leaves under the platform's domain, and the page says so above its button.
    await go("Mail");
    await heading(/^Inbox/);
    await look("mail-none");
    const list = new URL(page.url()).pathname;
    await page.keyboard.press("c");
    await heading("New email");
    const at = (domain) => ready.inbox.replace(/@.*/, `@${domain}`);
    await page.getByLabel("From").selectOption(at(DOMAIN));
    await page.locator("#identity").getByText(`It leaves as ${ready.inbox}, not as you chose.`).waitFor();
    await page.getByLabel("To", { exact: true }).fill(FRIEND);
    await page.getByLabel("Subject").fill("Before");
    await page.getByLabel("Text", { exact: true }).fill("Hello Ann.");
    await page.getByText("Saved as a draft.").waitFor();
    await look("compose-pending");
    await press("Send");
    await heading("Before");
    await page.locator("#delivery .head").getByText("scheduled").waitFor();
    await look("email-scheduled");
    await rest("POST", "/sandbox/clock", { advance_seconds: 11 });
    const before = await outside("Before");
    assert.deepEqual([before.mail_from, before.rcpt_to], [ready.inbox, [FRIEND]]);
    await page.locator("#delivery .head").getByText("sent", { exact: true }).waitFor();

    // A page that is open shows by itself how the identity changes with the verification.
    const writing = await context.newPage();
    await writing.goto(`${list}/compose`);
    await writing.getByLabel("From").selectOption(at(DOMAIN));
    await writing.locator("#identity").getByText("not as you chose").waitFor();

    // The records are published, and the domain turns green on a page that is not loaded again.
    await page.goto(ofDomain);
    await page.evaluate(() => {
        globalThis.sameDocument = true;
    });
    const internet = await context.newPage();
    await internet.goto("/sandbox/internet");
    await internet.getByRole("button", { name: "Publish all records" }).click();
    await internet.locator("#notices").getByText("Done.").waitFor();
    await internet.close();
    await page.bringToFront();
    // A check begins at once unless another has just been.
    await until("no check to be near", async () => {
        const { now } = await rest("GET", "/sandbox/clock");
        const { last_checked_at: last, next_check_at: next } = await rest("GET", `/api/v1/custom_domains/${id}`);
        return Date.parse(now) - Date.parse(last ?? 0) > 11_000 && Date.parse(next) - Date.parse(now) > 3_000;
    });
    await press("Check now");
    await badge.getByText("verified").waitFor();
    await page.locator("#verdict .badge").getByText("verified").waitFor();
    await until(
        "every record to be valid",
        async () => (await page.locator(".record").count()) === (await page.locator(".record[data-status=valid]").count()),
    );
    assert.ok(await page.evaluate(() => globalThis.sameDocument), "the page was not loaded again");
    await look("domain-verified");
    await writing.bringToFront();
    await writing.getByLabel("From").selectOption(ready.inbox);
    await writing.locator("#identity").getByText(`It leaves as ${ready.inbox}.`).waitFor();
    await writing.getByLabel("From").selectOption(at(DOMAIN));
    await writing
        .locator("#identity")
        .getByText(`It leaves as ${at(DOMAIN)}.`)
        .waitFor();
    await writing.close();

    // Then mail leaves under the domain.
    await page.bringToFront();
    await page.goto(`${list}/compose`);
    await page.getByLabel("From").selectOption(at(DOMAIN));
    await page
        .locator("#identity")
        .getByText(`It leaves as ${at(DOMAIN)}.`)
        .waitFor();
    await page.getByLabel("To", { exact: true }).fill(FRIEND);
    await page.getByLabel("Subject").fill("After");
    await page.getByLabel("Text", { exact: true }).fill("Hello again.");
    await press("Send");
    await heading("After");
    await rest("POST", "/sandbox/clock", { advance_seconds: 11 });
    const after = await outside("After");
    assert.deepEqual([after.mail_from, after.from.includes(at(DOMAIN))], [at(DOMAIN), true]);
    await page.locator("#delivery .head").getByText("sent", { exact: true }).waitFor();
    await look("email-delivered");

    // A reply from outside appears in the list by itself.
    await page.goto(list);
    await page.evaluate(() => {
        globalThis.sameDocument = true;
    });
    await page.getByText("No mail yet.").waitFor();
    const messageId = after.headers.find(({ name }) => name.toLowerCase() === "message-id").value;
    await inbound(
        `From: Ann <${FRIEND}>\r\nTo: ${at(DOMAIN)}\r\nSubject: Re: After\r\n` +
            `In-Reply-To: ${messageId}\r\nReferences: ${messageId}\r\nMessage-ID: <reply@outside.test>\r\n` +
            "Content-Type: text/html; charset=utf-8\r\n\r\n<h2>Good news</h2><p>It has <b>arrived</b>.</p>\r\n",
        at(DOMAIN),
        FRIEND,
    );
    const row = page.locator(".emails .row");
    await row.getByRole("link", { name: /Re: After/ }).waitFor();
    assert.ok(await page.evaluate(() => globalThis.sameDocument), "the page was not loaded again");
    await page
        .getByRole("navigation", { name: "Mailboxes" })
        .getByRole("link", { name: /Inbox\s*1/ })
        .waitFor();
    await look("mail");

    // It is opened and answered by keys.
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await heading("Re: After");
    await page.frameLocator("iframe").getByText("Good news").waitFor();
    await look("email");
    await page.keyboard.press("r");
    await heading("Draft");
    assert.match(await page.getByLabel("To", { exact: true }).inputValue(), new RegExp(FRIEND));
    assert.equal(await page.getByLabel("Subject").inputValue(), "Re: After");
    await page.getByLabel("Text", { exact: true }).focus();
    await page.keyboard.press("Control+Home");
    await page.keyboard.type("Good to hear.");
    await look("compose-reply");
    await press("Send");
    await heading("Re: After");
    await rest("POST", "/sandbox/clock", { advance_seconds: 11 });
    const reply = await outside("Re: After");
    assert.equal(reply.mail_from, at(DOMAIN));
    assert.match(reply.text_body, /^Good to hear\./);
    assert.ok(
        reply.headers.some(({ name, value }) => name.toLowerCase() === "in-reply-to" && value.includes("reply@outside.test")),
        "it is an answer to the reply",
    );

    // The email is deleted, by keys; then for good.
    await page.goto(list);
    await page.keyboard.press("j");
    await page.keyboard.press("#");
    await says("Moved to Trash.");
    await page
        .getByRole("navigation", { name: "Mailboxes" })
        .getByRole("link", { name: /^Trash/ })
        .click();
    await heading(/^Trash/);
    await page.getByRole("link", { name: /Re: After/ }).click();
    await page.frameLocator("iframe").getByText("Good news").waitFor();
    await page.getByRole("button", { name: "Delete permanently" }).click();
    await says("Deleted.");
    const left = (await rest("GET", `/api/v1/emails?inbox=${ready.inbox_id}`)).data;
    assert.deepEqual(
        left.filter((one) => !one.labels.includes("sent")),
        [],
    );

    // The domain is deleted once its name is typed.
    await go("Domains");
    await page.getByRole("link", { name: DOMAIN }).click();
    await page.getByRole("navigation", { name: "Domain" }).getByRole("link", { name: "Settings" }).click();
    await look("domain-settings");
    await page.getByRole("link", { name: `Delete ${DOMAIN}` }).click();
    await page.getByLabel("Name of the domain").fill("other.test");
    await press("Delete the domain");
    await page.getByText(`Name of the domain is ${DOMAIN}, not what was typed`).waitFor();
    await look("domain-delete");
    await rest("GET", `/api/v1/custom_domains/${id}`);
    await page.getByLabel("Name of the domain").fill(DOMAIN);
    await press("Delete the domain");
    await says("Deleted.");
    await rest("GET", `/api/v1/custom_domains/${id}`, undefined, { status: 404 });
    await page.getByText("No domain yet.").waitFor();

    assert.deepEqual([watched.console, watched.dialogs, world.asked], [[], [], []]);
    assert.equal(wrong.join("\n"), "");
});
