//! Drills, and who is signed in to the console.

use tidemark_model::{
    DrillCheck, DrillEvent, DrillId, DrillState, DrillStep, PointInTime, Principal, Secret,
    SnapshotId,
};

use super::{Fixture, at, fixture, holder};
use crate::{CatalogError, ConsoleSession, Done, NewDrill, Page, SignOut, SignedReport};

fn wanted(f: &Fixture, second: i64) -> NewDrill {
    NewDrill {
        id: DrillId::new(at(second)),
        instance: f.instance,
        is_scheduled: false,
        snapshot: SnapshotId::new(at(second)),
        moment: Some(PointInTime::Second(7)),
        checks: vec![DrillCheck {
            name: "a".into(),
            namespace: "d.c".into(),
            filter: None,
            pipeline: None,
            count: Some(3),
            at_least: None,
            documents: None,
        }],
        created_at: at(second),
    }
}

#[test]
fn a_drill_is_done_by_one_worker_at_a_time_and_keeps_its_report() {
    let f = fixture();
    let first = wanted(&f, 2_000);
    f.catalog.insert_drill(&first).unwrap();
    f.catalog.insert_drill(&wanted(&f, 2_001)).unwrap();
    assert!(f.catalog.is_drilled(f.instance).unwrap());
    let (claim, drill) = f.catalog.claim_drill(&holder("one"), at(2_010)).unwrap().unwrap();
    assert_eq!(drill.wanted, first);
    assert_eq!(drill.state, DrillState::Running { step: DrillStep::Verify });
    // Its lease ends, and another worker begins anew; the first one writes nothing.
    let (second, _) = f.catalog.claim_drill(&holder("two"), at(2_041)).unwrap().unwrap();
    assert_eq!(second.id, claim.id);
    let done = Done { documents: 5, bytes: 50, ..Done::default() };
    let stale = f.catalog.renew_drill(&claim, (&holder("one"), at(2_042)), &done);
    assert!(matches!(stale, Err(CatalogError::LeaseLost(_))));
    let stale = f.catalog.record_drill_event(&claim, DrillEvent::Proven(at(2_042)), None);
    assert!(matches!(stale, Err(CatalogError::LeaseLost(_))));
    f.catalog.renew_drill(&second, (&holder("two"), at(2_042)), &done).unwrap();
    let report = SignedReport { text: "{}".into(), signature: "ab".into() };
    let proven = DrillEvent::Proven(at(2_043));
    f.catalog.record_drill_event(&second, proven, Some(&report)).unwrap();
    let stale = f.catalog.record_drill_event(&claim, DrillEvent::Proven(at(2_044)), None);
    assert!(matches!(stale, Err(CatalogError::LeaseLost(_))));
    let found = f.catalog.find_drill(f.instance, claim.id).unwrap().unwrap();
    assert_eq!((found.done.documents, found.report), (5, Some(report)));
    assert_eq!(f.catalog.find_proven_drill(f.instance).unwrap().unwrap().wanted.id, claim.id);
    let page = f.catalog.list_drills(f.instance, Page { number: 1, size: 1 }).unwrap();
    assert_eq!((page.total, page.items.len()), (2, 1));
    assert_ne!(page.items[0].wanted.id, claim.id, "the newest comes first");
}

#[test]
fn the_key_of_reports_is_the_first_one_that_was_offered() {
    let f = fixture();
    let [a, b] = ["first", "second"].map(|text| Secret::new(text.to_owned()));
    assert_eq!(f.catalog.report_key(&a).unwrap().expose(), "first");
    assert_eq!(f.catalog.report_key(&b).unwrap().expose(), "first");
}

#[test]
fn sessions_end_here_everywhere_and_when_they_are_idle() {
    let f = fixture();
    let session = |id: &str, seen: i64| ConsoleSession {
        id: id.to_owned(),
        principal: Principal::ApiKey(f.key),
        secret: None,
        org: f.org,
        name: "key".into(),
        csrf: Secret::new("token".to_owned()),
        created_at: at(1_000),
        seen_at: at(seen),
    };
    for (id, seen) in [("a", 1_000), ("b", 1_500), ("c", 1_500), ("d", 1_500)] {
        f.catalog.insert_console_session(&session(id, seen)).unwrap();
    }
    let found = |id: &str| f.catalog.find_console_session(id).unwrap();
    f.catalog.note_console_session("b", at(3_000)).unwrap();
    assert_eq!(found("b").unwrap().seen_at, at(3_000));
    assert_eq!(found("b").unwrap().principal, Principal::ApiKey(f.key));
    f.catalog.forget_console_sessions(at(1_200)).unwrap();
    assert!(found("a").is_none() && found("b").is_some());
    f.catalog.end_console_sessions(&session("b", 1), SignOut::Here).unwrap();
    assert!(found("b").is_none() && found("c").is_some());
    f.catalog.end_console_sessions(&session("c", 1), SignOut::Everywhere).unwrap();
    assert!(found("c").is_none() && found("d").is_none());
}

#[test]
fn a_drill_that_cannot_be_decoded_is_set_aside_and_holds_up_nothing() {
    let f = fixture();
    let strange = wanted(&f, 2_000);
    f.catalog.insert_drill(&strange).unwrap();
    f.catalog.insert_drill(&wanted(&f, 2_001)).unwrap();
    let sql = "UPDATE drills SET checks = 'no json' WHERE id = ?1";
    f.catalog.lock().execute(sql, [strange.id.to_string()]).unwrap();
    let (claim, _) = f.catalog.claim_drill(&holder("one"), at(2_010)).unwrap().unwrap();
    assert_ne!(claim.id, strange.id);
    let aside = f.catalog.list_quarantined().unwrap();
    assert_eq!((aside.len(), aside[0].0.as_str()), (1, "drills"));
}

#[test]
fn a_drill_of_which_processes_die_is_given_up() {
    let f = fixture();
    f.catalog.insert_drill(&wanted(&f, 2_000)).unwrap();
    for round in 0..3 {
        let now = at(2_010 + round * 31);
        assert!(f.catalog.claim_drill(&holder("one"), now).unwrap().is_some(), "{round}");
    }
    assert!(f.catalog.claim_drill(&holder("one"), at(2_200)).unwrap().is_none());
    let found = f.catalog.list_drills(f.instance, Page { number: 1, size: 1 }).unwrap();
    assert!(
        matches!(&found.items[0].state, DrillState::Failed { failure, .. } if failure.reason.contains("3 times"))
    );
}
