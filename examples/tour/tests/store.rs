//! The store, as several nests use it at once.

use std::path::{Path, PathBuf};

use tour::store::{Store, StoreError};

#[tokio::test]
async fn what_one_nest_stored_another_loads() {
    let file = fresh("shared.db");
    let (one, two) = (Store::open(&file).unwrap(), Store::open(&file).unwrap());
    one.save("robin", 7).await.unwrap();
    assert_eq!(two.load("robin").await.unwrap(), 7);
    assert_eq!(two.load("wren").await.unwrap(), 0);
}

#[tokio::test]
async fn a_position_never_goes_back() {
    let store = Store::open(&fresh("forward.db")).unwrap();
    store.save("robin", 7).await.unwrap();
    store.save("robin", 3).await.unwrap();
    assert_eq!(store.load("robin").await.unwrap(), 7);
}

#[tokio::test]
async fn three_nests_store_a_thousand_positions_each_and_lose_none() {
    let file = fresh("busy.db");
    let stores = [(); 3].map(|()| Store::open(&file).unwrap());
    let mut saves = Vec::new();
    for (nth, store) in stores.iter().enumerate() {
        for bird in 1..=1000 {
            saves.push(store.save(&format!("bird-{nth}-{bird}"), bird));
        }
    }
    let saved: Result<Vec<()>, StoreError> = futures_util::future::try_join_all(saves).await;
    saved.unwrap();
    for nth in 0..3 {
        for bird in (1..=1000).step_by(97) {
            let loaded = stores[0].load(&format!("bird-{nth}-{bird}")).await.unwrap();
            assert_eq!(loaded, bird);
        }
    }
}

#[test]
fn a_store_that_cannot_be_opened_is_named() {
    let told = format!("{:#}", Store::open(Path::new("/nowhere/at/all.db")).unwrap_err());
    assert!(told.contains("/nowhere/at/all.db"), "{told}");
}

fn fresh(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    path
}
