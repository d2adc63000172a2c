// What pages do at once and by themselves: live lists, keys, files that are dropped, focus that stays.
import { assert, inbound, openPage, ready, rest, signIn, until, withBrowser, world } from "./support.mjs";

const letter = (subject) => `From: Ann <ann@outside.test>\r\nSubject: ${subject}\r\n\r\nHello from ${subject}.\r\n`;

await withBrowser(async (browser) => {
    const { context, page, watched } = await openPage(browser);
    await signIn(page, ready.token);
    const list = `/mail/${ready.inbox_id}`;
    const press = (name) => page.getByRole("button", { name, exact: true }).click();
    const stays = () => page.evaluate(() => { globalThis.sameDocument = true; });
    const stayed = async () => assert.ok(await page.evaluate(() => globalThis.sameDocument), "the page was not loaded again");
    const send = (to, subject) =>
        rest("POST", "/api/v1/emails/send", { inbox_id: ready.inbox_id, to, subject, text_body: "Hello." });

    // Overview, events and queue follow what happens; the last event of a burst is shown, and the focus stays on its link.
    await page.goto("/activity");
    await stays();
    await page.getByText("The numbers as a table").click();
    for (let at = 0; at < 5; at += 1) await inbound(letter(`burst ${at}`));
    await page.locator("#overview figcaption").getByText("5 in all").waitFor();
    assert.equal(await page.locator("#numbers").getAttribute("open"), "", "what was opened stays open");
    await stayed();
    await page.goto("/activity/events");
    await stays();
    const first = page.locator("#events").getByRole("link", { name: "burst 4" });
    await first.waitFor();
    assert.match(await page.locator("#events tbody tr").first().innerText(), /burst 4/, "the newest is first");
    await first.focus();
    await inbound(letter("one more"));
    await page.locator("#events").getByRole("link", { name: "one more" }).waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "burst 4", "the focus stays");
    await stayed();
    await page.goto("/activity/queue");
    await page.getByText("The queue is empty.").waitFor();
    await stays();
    await rest("POST", "/sandbox/dns/faults", { name: "silent.test", fault: "servfail" });
    await send("x@silent.test", "waits");
    await page.locator("#queue article").waitFor();
    await stayed();
    await page.getByRole("navigation", { name: "Activity" }).getByRole("link", { name: "Sent", exact: true }).click();
    await page.locator("#events").getByRole("link", { name: "waits" }).waitFor();
    assert.equal(await page.locator("#events").getByText("email.received").count(), 0);

    // Pages of events.
    for (let at = 0; at < 60; at += 1) await inbound(letter(`many ${at}`));
    await page.goto("/activity/events?type=email.received");
    await page.getByRole("link", { name: "Next page" }).click();
    await page.getByRole("link", { name: "First page" }).waitFor();
    assert.match(await page.locator("#events tbody tr").first().innerText(), /many 9/);

    // New mail waits while something is selected.
    await page.goto(list);
    await stays();
    await page.getByRole("checkbox", { name: "Select many 59" }).check();
    await inbound(letter("meanwhile"));
    await page.locator("#waiting").waitFor();
    assert.equal(await page.getByRole("link", { name: /meanwhile/ }).count(), 0);
    await page.getByRole("checkbox", { name: "Select many 59" }).uncheck();
    await page.getByRole("link", { name: /meanwhile/ }).waitFor();
    await stayed();

    // Keys on an email's page and in the list.
    await page.goto(list);
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    const title = (name) => page.getByRole("heading", { name, level: 1 }).waitFor();
    await title("meanwhile");
    await page.keyboard.press("j");
    await title("many 59");
    await page.keyboard.press("k");
    await title("meanwhile");
    await page.keyboard.press("/");
    await page.locator("#q:focus").waitFor();
    await page.locator("#q").fill("burst");
    await page.locator("#list-title").getByText("Search").waitFor();
    await until("the results to be announced", async () => (await page.locator("#unread").innerText()) === "5 results");
    assert.match(await page.title(), /^Search/);
    assert.match(page.url(), /q=burst/);
    await page.locator("#email-" + (await page.locator(".emails .link").first().getAttribute("id")).slice(6)).focus();
    await page.keyboard.press("r");
    await title("Draft");
    assert.match(await page.getByLabel("Subject").inputValue(), /^Re: burst/);
    await press("Discard");

    // Writing: the page's address leads to the draft once it is saved, and files are dropped, listed and removed.
    await page.goto(`${list}/compose`);
    await page.getByLabel("To", { exact: true }).fill("bo@outside.test");
    await page.getByLabel("Subject").fill("Files");
    await page.getByText("Saved as a draft.").waitFor();
    await page.waitForURL(/compose\?draft=msg_/);
    const drop = (selector, names) =>
        page.evaluate(
            ([selector, names]) => {
                const data = new DataTransfer();
                for (const name of names) data.items.add(new File(["content"], name, { type: "text/plain" }));
                const event = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
                return document.querySelector(selector).dispatchEvent(event);
            },
            [selector, names],
        );
    assert.equal(await drop("#compose .drop", ["a.txt", "b.txt"]), false);
    assert.equal(await drop("header", ["c.txt"]), false, "a drop beside the form does not open the file");
    await press("Remove a.txt");
    assert.deepEqual(await page.locator("#files-list bdi").allInnerTexts(), ["b.txt"]);
    await page.getByLabel("Text", { exact: true }).fill("See the file.");
    await press("Send");
    await title("Files");

    // Until it leaves, the page looks again and again, and the focus stays on the button.
    await page.getByRole("button", { name: "Undo" }).focus();
    const answered = page.waitForResponse((response) => response.url().includes("/delivery?seen=scheduled"));
    await answered;
    await page.waitForTimeout(200);
    assert.equal(await page.evaluate(() => document.activeElement.id), "undo");
    await rest("POST", "/sandbox/clock", { advance_seconds: 11 });
    await page.locator("#delivery-status").getByText("sent", { exact: true }).waitFor();
    await page.locator("#story").getByText(/delivered:.*250/).waitFor();
    await page.getByText("Accepted").waitFor();
    const mail = (await rest("GET", "/sandbox/mail")).data.at(-1);
    const { headers } = await rest("GET", `/sandbox/mail/${mail.id}`);
    assert.ok(!headers.some(({ name }) => name.toLowerCase() === "inboxlayer-answers"));

    // Labels.
    await page.goto(list);
    await page.getByRole("link", { name: "Change labels" }).click();
    await page.getByLabel("New label").fill("Urgent");
    await press("Create label");
    await page.getByLabel("Name of Urgent").fill("Very urgent");
    await press("Rename Urgent");
    await page.getByRole("rowheader", { name: "Very urgent" }).waitFor();
    await page.goto(list);
    await page.getByRole("navigation", { name: "Mailboxes" }).getByRole("link", { name: "Very urgent" }).waitFor();
    await page.goto(`${list}/labels`);
    await press("Delete Very urgent");
    await page.getByText("No label yet.").waitFor();

    // A domain that changes between the page and its stream.
    const domain = await rest("POST", "/api/v1/custom_domains", { domain: "late.test" });
    const shown = await context.newPage();
    await shown.goto(`/domains/${domain.id}`);
    const stale = await shown.locator("[sse-connect]").getAttribute("sse-connect");
    await shown.close();
    await rest("PATCH", `/api/v1/custom_domains/${domain.id}`, { on_unverified: "hold" });
    const begun = await page.evaluate(async (path) => {
        const response = await fetch(path);
        const { value } = await response.body.getReader().read();
        return new TextDecoder().decode(value);
    }, stale);
    assert.match(begun, /^event: state\n/);

    assert.deepEqual([watched.console, watched.dialogs, world.asked], [[], [], []]);
});
