use std::sync::Arc;
use cosmount::*;
fn main() {
    env_logger::init();
    let args: Vec<String> = std::env::args().collect();
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let creds = wire::sign::Credentials { secret_id: "AKIDtest".into(), secret_key: "secret".into(), token: None };
    if args[1] == "serve" {
        rt.block_on(async {
            let l = tokio::net::TcpListener::bind("127.0.0.1:9555").await.unwrap();
            let mut o = server::ServerOptions::default();
            o.credentials = Some(creds);

            o.access_log = args.get(2).map(|p| p.into());
            server::run(l, o, std::future::pending()).await.unwrap();
        });
    } else {
        let ep = wire::address::Endpoint::custom("http://127.0.0.1:9555").unwrap();
        let bucket = wire::BucketName::new("local-1250000000").unwrap();
        let store = store::HttpStore::new(store::HttpOptions::new(ep, bucket, creds)).unwrap();
        let mem: usize = args.get(3).and_then(|s| s.parse().ok()).unwrap_or(512) << 20;
        let fs = fs::FileSystem::new(fs::FileSystemParts { store: Arc::new(store), options: fs::FsOptions::default(), upload: Default::default(), read: Default::default(), memory: memory::Memory::new(mem), clock: clock::Clock::System, stats: Default::default(), runtime: rt.handle().clone() });
        let m = fuse::mount(fs, args[2].as_ref(), &Default::default(), rt.handle().clone()).unwrap();
        m.raise_read_ahead();
        m.wait().unwrap();
    }
}
