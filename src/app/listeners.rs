//! Binds all servers before any is opened: a port in use fails the whole start.

use super::{Services, StartError};
use crate::auth::passwords::Passwords;
use crate::config::Config;
use crate::dns::authority::{Authority, KeysZone, Zones};
use crate::http::{self, HttpContext, Streams};
use crate::imap::{self, ImapServer};
use crate::mcp;
use crate::net::listener::Shutdown;
use crate::net::tls::ServerTls;
use crate::smtp::{self, MxServer, SubmissionServer};
use crate::web::{self, MailPorts, WebContext};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The addresses the servers listen on; a configured port 0 is replaced by the assigned port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    pub http: Option<SocketAddr>,
    /// MX, from outside.
    pub mx: Option<SocketAddr>,
    pub submission: Option<SocketAddr>,
    /// Submission with implicit TLS.
    pub submissions: Option<SocketAddr>,
    pub imap: Option<SocketAddr>,
    /// IMAP with implicit TLS.
    pub imaps: Option<SocketAddr>,
    /// DNS of the DKIM zone.
    pub dns: Option<SocketAddr>,
}

impl Addresses {
    fn mail_ports(&self) -> MailPorts {
        let port = |address: Option<SocketAddr>| address.map(|address| address.port());
        MailPorts {
            imap: port(self.imap),
            imaps: port(self.imaps),
            submission: port(self.submission),
            submissions: port(self.submissions),
        }
    }
}

pub(super) struct Bound {
    http: TcpListener,
    mx: Option<TcpListener>,
    submission: Option<TcpListener>,
    submissions: Option<TcpListener>,
    imap: Option<TcpListener>,
    imaps: Option<TcpListener>,
    dns: Option<Authority>,
}

impl Bound {
    pub(super) async fn bind(config: &Config) -> Result<Self, StartError> {
        let (smtp, imap) = (&config.smtp, &config.imap);
        Ok(Self {
            http: bind("http.listen", config.http.listen).await?,
            mx: bind_if("smtp.mx", smtp.mx).await?,
            submission: bind_if("smtp.submission", smtp.submission).await?,
            submissions: bind_if("smtp.submissions", smtp.submissions).await?,
            imap: bind_if("imap.imap", imap.imap).await?,
            imaps: bind_if("imap.imaps", imap.imaps).await?,
            dns: match config.dkim.listen {
                Some(address) => Some(Authority::bind(address).await.map_err(|source| StartError::Bind {
                    key: "dkim.listen",
                    address,
                    source,
                })?),
                None => None,
            },
        })
    }

    pub(super) fn addresses(&self) -> Addresses {
        let of = |listener: &Option<TcpListener>| listener.as_ref().and_then(|l| l.local_addr().ok());
        Addresses {
            http: self.http.local_addr().ok(),
            mx: of(&self.mx),
            submission: of(&self.submission),
            submissions: of(&self.submissions),
            imap: of(&self.imap),
            imaps: of(&self.imaps),
            dns: self.dns.as_ref().map(Authority::address),
        }
    }

    pub(super) fn open(
        self,
        services: &Services,
        tls: Option<ServerTls>,
        sandbox: Option<axum::Router>,
        servers: &Shutdown,
    ) -> Result<(), StartError> {
        let ports = self.addresses().mail_ports();
        if let Some(authority) = self.dns {
            let zone = KeysZone::new(&services.config.dkim, services.store.clone())
                .map_err(|error| StartError::Zone(error.to_string()))?;
            // Reachable from the open internet.
            servers.spawn(authority.serve(Zones::of_keys(zone), true, servers.clone()));
        }
        open_http(self.http, services, tls.clone(), (sandbox, ports), servers);
        let Some(tls) = tls else { return Ok(()) };
        if let Some(listener) = self.mx {
            let (config, inbound) = (Arc::clone(&services.config), services.inbound.clone());
            let server = Arc::new(MxServer { config, tls: tls.clone(), inbound, spool: services.spool.clone() });
            servers.spawn(smtp::mx(listener, server, servers.clone()));
        }
        open_submission([(self.submission, false), (self.submissions, true)], services, tls.clone(), servers);
        open_imap([(self.imap, false), (self.imaps, true)], services, tls, servers);
        Ok(())
    }
}

fn open_http(
    listener: TcpListener,
    services: &Services,
    tls: Option<ServerTls>,
    (sandbox, ports): (Option<axum::Router>, MailPorts),
    servers: &Shutdown,
) {
    let config = &services.config;
    let context = HttpContext {
        config: Arc::clone(config),
        store: services.store.clone(),
        mailboxes: services.mailboxes.clone(),
        clock: services.clock.clone(),
        events: services.events.clone(),
        authenticator: services.authenticator.clone(),
        registry: services.registry.clone(),
        public_events: services.public_events.clone(),
        streams: Streams::new(&config.limits, services.authenticator.clone(), services.public_events.clone()),
        rotation: services.rotation.clone(),
        submission: services.submission.clone(),
        queue: services.queue.clone(),
        webhooks: services.webhooks.clone(),
        spool: services.spool.clone(),
        reading: services.reading.clone(),
        links: services.keys.links(),
        creations: HttpContext::creations(&config.limits, &services.store),
        passwords: Passwords::new(services.reading.work().clone()),
        readiness: services.readiness.clone(),
    };
    let api = http::router(context.clone());
    let tools = mcp::Api { router: api.clone(), document: http::document, needed: http::needed };
    let pages = WebContext {
        config: Arc::clone(config),
        clock: services.clock.clone(),
        authenticator: services.authenticator.clone(),
        secrets: services.keys.secrets(),
        spool: services.spool.clone(),
        work: services.reading.work().clone(),
        api: api.clone(),
        once: services.once.clone(),
        ports,
        sandbox: sandbox.clone(),
    };
    let router = api.merge(http::behind_token(mcp::router(http::MCP, tools), &context));
    let router = match sandbox {
        Some(verbs) => router.merge(verbs),
        None => router,
    };
    let router = web::beside(router, pages);
    let (tls, config, ending) = (tls.filter(|_| config.http.tls), Arc::clone(config), servers.clone());
    servers.spawn(async move { http::serve(listener, router, tls, &config, ending).await });
}

/// Each listener, and whether it uses implicit TLS.
type Listeners = [(Option<TcpListener>, bool); 2];

fn open_submission(listeners: Listeners, services: &Services, tls: ServerTls, servers: &Shutdown) {
    let server = Arc::new(SubmissionServer {
        config: Arc::clone(&services.config),
        tls,
        authenticator: services.authenticator.clone(),
        submission: services.submission.clone(),
        spool: services.spool.clone(),
    });
    for (listener, implicit_tls) in listeners {
        if let Some(listener) = listener {
            servers.spawn(smtp::submission(listener, Arc::clone(&server), implicit_tls, servers.clone()));
        }
    }
}

fn open_imap(listeners: Listeners, services: &Services, tls: ServerTls, servers: &Shutdown) {
    let server = Arc::new(ImapServer {
        progress_every: imap::PROGRESS_EVERY,
        mailboxes: services.mailboxes.clone(),
        config: Arc::clone(&services.config),
        store: services.store.clone(),
        reading: services.reading.clone(),
        authenticator: services.authenticator.clone(),
        spool: services.spool.clone(),
        tls,
    });
    for (listener, implicit_tls) in listeners {
        if let Some(listener) = listener {
            servers.spawn(imap::serve(listener, Arc::clone(&server), implicit_tls, servers.clone()));
        }
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Bind { key, address, source })
}

async fn bind_if(key: &'static str, address: Option<SocketAddr>) -> Result<Option<TcpListener>, StartError> {
    match address {
        Some(address) => bind(key, address).await.map(Some),
        None => Ok(None),
    }
}
