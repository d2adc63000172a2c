// The work of an owner with JavaScript off: by forms and links alone.
import { assert, inbound, openPage, outside, ready, rest, signInByPassword, until, withBrowser, world } from "./support.mjs";

const DOMAIN = "plain.test";

await withBrowser(async (browser) => {
    const { context, page, watched } = await openPage(browser, { javaScriptEnabled: false });
    await signInByPassword(page);
    const heading = (name) => page.getByRole("heading", { name, level: 1 });
    const go = (name) => page.getByRole("navigation", { name: "Main" }).getByRole("link", { name, exact: true }).click();
    const press = (name) => page.getByRole("button", { name, exact: true }).click();
    const says = (text) => page.locator("#notices").getByText(text).waitFor();

    // A domain.
    await go("Domains");
    await page.getByLabel("Domain").fill("not a domain");
    await press("Add domain");
    assert.equal(await page.getByLabel("Domain").getAttribute("aria-invalid"), "true");
    await page.getByLabel("Domain").fill(DOMAIN);
    await press("Add domain");
    await heading(DOMAIN).waitFor();
    const here = new URL(page.url()).pathname;
    await go("Internet");
    await press("Publish all records");
    await page.goto(here);
    // The second comes seconds after the first; both lead to the page of the domain, which says what is checked.
    const checked = /The check has begun|The last check began/;
    for (let at = 0; at < 2; at += 1) {
        await press("Check now");
        await says(checked);
    }
    await until("the domain to be verified", async () => {
        await page.goto(here);
        if ((await page.locator("#badge").innerText()) === "verified") return true;
        await press("Check now");
        await says(checked);
        return false;
    });

    // An inbox at it.
    await go("Inboxes");
    await page.getByLabel("Name").fill("plain");
    await page.getByLabel("At").selectOption(`@${DOMAIN}`);
    await press("Create inbox");
    await heading("plain").waitFor();
    await says("Created.");
    await page.getByRole("link", { name: "Open mail" }).click();
    const list = new URL(page.url()).pathname;

    // Sending, under the domain.
    await page.getByRole("link", { name: "Write", exact: true }).click();
    await page.getByLabel("To", { exact: true }).fill("ann@outside.test");
    await page.getByLabel("Subject").fill("Without scripts");
    await page.getByLabel("Text", { exact: true }).fill("Hello Ann,\nplainly.");
    await page
        .getByLabel("Attach files")
        .setInputFiles({ name: "a.txt", mimeType: "text/plain", buffer: Buffer.from("attached") });
    await page.getByText(`It leaves as plain@${DOMAIN}.`).waitFor();
    await press("Send");
    await heading("Without scripts").waitFor();
    await rest("POST", "/sandbox/clock", { advance_seconds: 15 });
    const sent = await outside("Without scripts");
    assert.equal(sent.mail_from, `plain@${DOMAIN}`);
    assert.match(sent.raw, /filename="?a\.txt/);
    await until("the delivery", async () => {
        await page.reload();
        return (await page.locator("#delivery .head [role=status]").innerText()) === "sent";
    });

    // A reply comes, and is answered.
    await inbound("From: Ann <ann@outside.test>\r\nSubject: Re: Without scripts\r\n\r\nPlainly, too.\r\n", `plain@${DOMAIN}`);
    await page.goto(list);
    await until("the mail", async () => {
        await page.reload();
        return (await page.locator(".emails .link").count()) > 0;
    });
    await page.locator(".emails .link").first().click();
    await heading("Re: Without scripts").waitFor();
    await page.getByText("Plainly, too.").waitFor();
    await press("Reply");
    await heading("Draft").waitFor();
    assert.equal(await page.getByLabel("To", { exact: true }).inputValue(), "Ann <ann@outside.test>".replace("Ann", '"Ann"'));
    await page.getByLabel("Text", { exact: true }).fill("Thank you.");
    await press("Save draft");
    await says("Saved as a draft.");
    await press("Send");
    await rest("POST", "/sandbox/clock", { advance_seconds: 15 });
    await until("the answer", async () => (await rest("GET", "/sandbox/mail")).data.length === 2);

    // Searching, deleting.
    await page.goto(list);
    await page.getByLabel("Search this inbox").fill("plainly");
    await press("Search");
    await heading(/^Search/).waitFor();
    await page
        .getByRole("link", { name: /Re: Without scripts/ })
        .first()
        .click();
    await press("Delete");
    await says("Moved to Trash.");
    await page
        .getByRole("navigation", { name: "Mailboxes" })
        .getByRole("link", { name: /^Trash/ })
        .click();
    await page.getByRole("checkbox", { name: "Select Re: Without scripts" }).check();
    await press("Delete permanently");
    await says("Deleted.");
    assert.equal(await page.locator(".emails .link").count(), 0);

    // Deleting the inbox asks for its name, and so does the domain.
    await go("Inboxes");
    await page.getByRole("link", { name: "plain", exact: true }).click();
    await page.getByRole("link", { name: /^Delete/ }).click();
    await page.getByLabel("Name of the inbox").fill("other");
    await press("Delete inbox");
    await page.getByText("Nothing was deleted.").waitFor();
    await page.getByLabel("Name of the inbox").fill("plain");
    await press("Delete inbox");
    await says("Deleted.");
    await page.goto(here);
    await page.getByRole("navigation", { name: "Domain" }).getByRole("link", { name: "Settings" }).click();
    await page.getByRole("link", { name: `Delete ${DOMAIN}` }).click();
    await page.getByLabel("Name of the domain").fill(DOMAIN);
    await press("Delete the domain");
    await says("Deleted.");
    assert.deepEqual(await rest("GET", "/api/v1/custom_domains"), []);

    await press("Sign out");
    await heading("Sign in").waitFor();
    assert.equal((await context.cookies()).length, 0);
    assert.deepEqual([watched, world.asked], [{ console: [], dialogs: [] }, []]);
});
